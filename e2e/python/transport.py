"""An operator's transport for tests of the channel `webhook`: what it gets is judged by the library `standardwebhooks`, and so is
signed what it posts back.

Its argument is a JSON object with `secret`, and `news_secret` where news is signed by another. It tells what it sees by lines of JSON with an
`event`: `listening` (port), `call` (type, id, data), `forged`. It is told what to do by lines of JSON: `answer` (status and body of
the next calls of a type), `news` (url, type, data; it tells the `status` and `text` of the answer).
"""

import json
import sys
import threading
import urllib.error
import urllib.request
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

options = json.loads(sys.argv[1])
secret = Webhook(options["secret"])
news_secret = Webhook(options.get("news_secret", options["secret"]))
answers = {}
telling = threading.Lock()
posted = 0


def tell(event, **more):
    with telling:
        print(json.dumps({"event": event, **more}), flush=True)


class Transport(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            call = secret.verify(body, dict(self.headers))
        except WebhookVerificationError:
            tell("forged")
            self.say(401, {})
            return
        tell("call", id=self.headers["webhook-id"], **call)
        status, answer = answers.get(call["type"], (200, {"status": "accepted", "id": f"t-{self.headers['webhook-id']}"}))
        self.say(status, answer)

    def say(self, status, answer):
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def post(url, kind, data):
    global posted
    posted += 1
    now = datetime.now(tz=timezone.utc)
    body = json.dumps({"type": kind, "timestamp": now.isoformat(), "data": data})
    headers = {
        "content-type": "application/json",
        "webhook-id": f"news-{posted}",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": news_secret.sign(f"news-{posted}", now, body),
    }
    request = urllib.request.Request(url, data=body.encode(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            tell("posted", status=answer.status, text=answer.read().decode())
    except urllib.error.HTTPError as error:
        tell("posted", status=error.code, text=error.read().decode())


server = ThreadingHTTPServer(("127.0.0.1", 0), Transport)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
tell("listening", port=server.server_address[1])
for line in sys.stdin:
    command = json.loads(line)
    if command["do"] == "answer":
        answers[command["type"]] = (command["status"], command["body"])
    elif command["do"] == "news":
        post(command["url"], command["type"], command["data"])
    tell("done")
