"""WhatsApp's Cloud API for tests of the channel `whatsapp`, as the library `pywa` knows it: what is sent is held against what pywa sends
for the same template, and signatures, updates, errors and handshakes are judged and read by pywa.

Its argument is a JSON object with `phone_number_id`, `access_token`, `app_secret` and `verify_token`. It tells what it sees by lines of JSON with an
`event`: `listening` (url), `sent` (ours, theirs, headers). It is told what to do by lines of JSON: `refuse` (how the next call is refused:
status, code; it tells the `error` as pywa names it), `sign` (an update; it tells `signed`: body, signature, and what pywa reads), `judge` (a
body and a signature; it tells `judged`), `handshake` (token, challenge; `answered`), `template` (name, language; `created`: what pywa posts
to create the template).
"""

import hashlib
import hmac
import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pywa
from pywa import errors, utils
from pywa.types import templates

logging.disable(logging.CRITICAL)
assert pywa.__version__ == "4.5.0", pywa.__version__
options = json.loads(sys.argv[1])
telling = threading.Lock()
refusals = []
seen = []


def tell(event, **more):
    with telling:
        print(json.dumps({"event": event, **more}), flush=True)


def accepted(to):
    return {
        "messaging_product": "whatsapp",
        "contacts": [{"input": to, "wa_id": to.lstrip("+")}],
        "messages": [{"id": f"wamid.{to.lstrip('+')}", "message_status": "accepted"}],
    }


def refusal(code):
    return {"error": {"message": f"(#{code}) no", "type": "OAuthException", "code": code, "error_data": {"details": "no"}, "fbtrace_id": "A1"}}


class Posted(Exception):
    """What pywa would post."""


def pywas(answer=None, **more):
    """A client of pywa whose calls go nowhere: it is answered so, or its body is raised."""

    def handle(request):
        if answer is None:
            raise Posted(json.loads(request.content))
        status, body = answer
        return httpx.Response(status, json=body)

    return pywa.WhatsApp(
        phone_id=options["phone_number_id"],
        token=options["access_token"],
        session=httpx.Client(transport=httpx.MockTransport(handle)),
        **more,
    )


def send(client, to, template, tracker):
    code = template["components"][0]["parameters"][0]["text"]
    return client.send_template(
        to=to,
        name=template["name"],
        language=templates.TemplateLanguage(template["language"]["code"]),
        params=[
            templates.AuthenticationBody.params(otp=code),
            templates.CopyCodeOTPButton.params(otp=code),
        ],
        tracker=tracker,
    )


def posted(work):
    try:
        work()
    except Posted as error:
        return error.args[0]
    raise AssertionError("pywa posted nothing")


class CloudApi(BaseHTTPRequestHandler):
    def do_POST(self):
        ours = json.loads(self.rfile.read(int(self.headers["content-length"])))
        theirs = posted(lambda: send(pywas(), ours["to"], ours["template"], ours["biz_opaque_callback_data"]))
        tell(
            "sent",
            ours=ours,
            theirs=theirs,
            path=self.path,
            authorization=self.headers["authorization"],
            content_type=self.headers["content-type"],
        )
        if refusals:
            status, code = refusals.pop(0)
            self.say(status, refusal(code))
        else:
            # pywa must be able to read it, too.
            answer = accepted(ours["to"])
            sent = send(pywas((200, answer)), ours["to"], ours["template"], None)
            assert sent.id == answer["messages"][0]["id"], sent
            self.say(200, answer)

    def say(self, status, answer):
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def family(code):
    """How pywa names an error, and to which family it belongs."""
    template = {"name": "t", "language": {"code": "en"}, "components": [{"parameters": [{"text": "1"}]}]}
    try:
        send(pywas((400, refusal(code))), "+391234567890", template, None)
    except errors.WhatsAppError as error:
        return [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, errors.WhatsAppError)]
    raise AssertionError(f"pywa takes {code} for a success")


receiver = pywas(
    (200, {}),
    server=None,
    verify_token=options["verify_token"],
    app_secret=options["app_secret"],
    skip_duplicate_updates=False,
)


@receiver.on_message_status
def on_status(_, status):
    seen.append(
        {
            "kind": "status",
            "id": status.id,
            "status": status.status.value,
            "data": status.tracker,
            "code": status.error.code if status.error else None,
        }
    )


@receiver.on_message
def on_message(_, message):
    about = message.reply_to_message.message_id if message.reply_to_message else None
    seen.append({"kind": "text", "from": message.from_user.wa_id, "text": message.text, "about": about})


@receiver.on_callback_button
def on_button(_, button):
    about = button.reply_to_message.message_id if button.reply_to_message else None
    seen.append({"kind": "button", "from": button.from_user.wa_id, "payload": button.data, "about": about})


def judge(body, signature):
    """What pywa says of a call: null, or the status of its refusal."""
    refused = receiver.webhook_update_validator(body, signature)
    return refused and refused[1]


def sign(update):
    body = json.dumps(update).encode()
    signature = "sha256=" + hmac.new(options["app_secret"].encode(), body, hashlib.sha256).hexdigest()
    assert judge(body, signature) is None
    seen.clear()
    receiver.webhook_update_handler(body)
    tell("signed", body=body.decode(), header=utils.HUB_SIG.lower(), signature=signature, read=list(seen))


def create(name, language):
    template = templates.Template(
        name=name,
        language=templates.TemplateLanguage(language),
        category=templates.TemplateCategory.AUTHENTICATION,
        message_send_ttl_seconds=300,
        components=[
            templates.AuthenticationBody(add_security_recommendation=True),
            templates.AuthenticationFooter(code_expiration_minutes=5),
            templates.Buttons(buttons=[templates.CopyCodeOTPButton()]),
        ],
    )
    tell("created", body=posted(lambda: pywas().create_template(template, waba_id="1")))


server = ThreadingHTTPServer(("127.0.0.1", 0), CloudApi)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
tell("listening", url=f"http://127.0.0.1:{server.server_address[1]}")
for line in sys.stdin:
    command = json.loads(line)
    if command["do"] == "refuse":
        refusals.append((command["status"], command["code"]))
        tell("error", names=family(command["code"]))
    elif command["do"] == "sign":
        sign(command["update"])
    elif command["do"] == "judge":
        tell("judged", refused=judge(command["body"].encode(), command["signature"]))
    elif command["do"] == "handshake":
        text, status = receiver.webhook_challenge_handler(command["token"], command["challenge"])
        tell("answered", status=status, text=text)
    elif command["do"] == "template":
        create(command["name"], command["language"])
    tell("done")
