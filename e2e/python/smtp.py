"""A mail server for tests of the channel `email`: `aiosmtpd` speaks SMTP, and Python's `email` reads what comes.

Its argument is a JSON object; all of it may be left out: `cert_file` and `key_file` (STARTTLS, without which it takes nothing; with `"tls":
true` TLS from the first byte), `user` and `password` (wanted before anything is sent), `utf8` (it offers SMTPUTF8).

It tells what it sees by lines of JSON with an `event`: `listening` (port), `connected`, `mail` (from, options), `rcpt` (to, options), `message`
(headers, text, html, languages of the parts, defects). It is told what to do by lines of JSON:

    {"do": "behave", "at": "mail" | "rcpt" | "data", "reply": "550 5.1.1 no"}     answers so
    {"do": "behave", "at": …, "hang": true}                                       doesn't answer
    {"do": "behave", "at": … | "content", "drop": true}                           ends the connection: `content`, while it comes
    {"do": "behave", …, "count": 1}                                               only so many times
    {"do": "drop"}                                                                ends all connections
"""

import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult

options = json.loads(sys.argv[1])
behaviour = {}
connections = set()


def tell(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


async def behave(at, server):
    """What it was told to do there: the reply, if there is one. Nothing comes back from it where it isn't to answer."""
    told = behaviour.get(at)
    if told is None:
        return None
    if "count" in told:
        told["count"] -= 1
        if told["count"] <= 0:
            del behaviour[at]
    if told.get("drop"):
        server.transport.abort()
    if told.get("drop") or told.get("hang"):
        await asyncio.Event().wait()
    return told["reply"]


class Handler:
    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        tell("mail", **{"from": address, "options": mail_options})
        reply = await behave("mail", server)
        if reply is None:
            envelope.mail_from = address
        return reply or "250 2.1.0 fine"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        tell("rcpt", to=address, options=rcpt_options)
        reply = await behave("rcpt", server)
        if reply is None:
            envelope.rcpt_tos.append(address)
        return reply or "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.original_content, policy=policy.default)
        parts = list(mail.walk())
        defects = [str(defect) for part in parts for defect in part.defects]
        defects += [str(defect) for part in parts for value in part.values() for defect in value.defects]
        body = lambda kind: next((part.get_content() for part in parts if part.get_content_type() == kind), None)
        tell(
            "message",
            headers=[[name, str(value)] for name, value in mail.items()],
            kinds=[part.get_content_type() for part in parts],
            text=body("text/plain"),
            html=body("text/html"),
            defects=defects,
            longest_line=max(map(len, envelope.original_content.split(b"\r\n"))),
        )
        return await behave("data", server) or "250 2.0.0 queued as 4711"


class Server(SMTP):
    def connection_made(self, transport):
        super().connection_made(transport)
        # STARTTLS comes here a second time.
        if transport.get_extra_info("sslcontext") is None or options.get("tls"):
            tell("connected")
        connections.add(transport)

    def connection_lost(self, error):
        connections.discard(self.transport)
        super().connection_lost(error)

    async def smtp_DATA(self, arg):
        if "content" in behaviour:
            await self.push("354 go on")
            await behave("content", self)
        await super().smtp_DATA(arg)


def authenticate(server, session, envelope, mechanism, data):
    fits = (data.login.decode(), data.password.decode()) == (options["user"], options["password"])
    return AuthResult(success=fits, handled=False)


async def main():
    loop = asyncio.get_running_loop()
    context = None
    if "cert_file" in options:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options["cert_file"], options["key_file"])
    implicit = context if options.get("tls") else None
    starttls = None if implicit else context
    settings = {
        "enable_SMTPUTF8": bool(options.get("utf8")),
        "tls_context": starttls,
        "require_starttls": starttls is not None,
    }
    if "user" in options:
        settings |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    server = await loop.create_server(lambda: Server(Handler(), **settings), "127.0.0.1", 0, ssl=implicit)
    tell("listening", port=server.sockets[0].getsockname()[1])
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        if command["do"] == "behave":
            behaviour[command["at"]] = command
        elif command["do"] == "drop":
            for transport in list(connections):
                transport.abort()
        tell("done")


asyncio.run(main())
