"""Receives delivery reports on this machine and checks each signature, as docs/delivery-reports.md tells customers to."""

import hashlib
import hmac
import json
import queue
import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def verify_report(token: str, timestamp: str, body: bytes, signature: str, max_age: int = 300) -> bool:
    """Whether a report is genuine and fresh."""
    key = hashlib.sha256(token.encode()).digest()
    expected = hmac.new(key, timestamp.encode() + b"\n" + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        return False
    return timestamp.isdecimal() and abs(time.time() - int(timestamp)) <= max_age


class Receiver:
    """A web server for one test. `url` goes into `callback_url`; `next()` waits for a genuine report."""

    def __init__(self, token: str):
        self.reports = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                timestamp = self.headers["X-Request-Timestamp"]
                signature = self.headers["X-Request-Signature"]
                genuine = verify_report(token, timestamp, body, signature)
                forged = verify_report(token, timestamp, body + b" ", signature)
                stale = verify_report(token, timestamp, body, signature, max_age=-1)
                receiver.reports.put((genuine and not forged and not stale, body, self.headers))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/reports"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self) -> tuple[dict, bytes, Message]:
        """The next report as an object, as bytes, and its headers."""
        genuine, body, headers = self.reports.get(timeout=20)
        assert genuine, f"a report came with a wrong signature: {body!r}"
        assert headers["Content-Type"].startswith("application/json"), headers
        return json.loads(body), body, headers

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
