"""Runs the Python code of docs/quick-start.md as it stands there, so that the page can't promise what isn't true.

Replaced are only what a reader would replace: the address, the port of the receiver, the typing of the code; and the receiver
ends after the two reports that the page announces.
"""

import builtins
import http.server
import os
import re
import socket
from pathlib import Path

import inbox

BASE_URL = os.environ["COUNTERSIGN_URL"] + "/"
page = (Path(__file__).parents[2] / "docs" / "quick-start.md").read_text(encoding="utf-8")
code = "\n".join(re.findall(r"^```python [^\n]*\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = str(probe.getsockname()[1])
for old, new in (("http://127.0.0.1:8099/", BASE_URL), ("9000", port)):
    assert old in code, f"{old} is no longer in the page"
    code = code.replace(old, new)

said = []


def type_the_code(_prompt):
    """The reader looks into the inbox; here it is asked by its API."""
    return inbox.wait_for_message(BASE_URL, scope["PHONE"], scope["sent"]["request_id"])["code"]


class TwoReports(http.server.HTTPServer):
    timeout = 20

    def serve_forever(self):
        for _ in range(2):
            self.handle_request()
        self.server_close()


http.server.HTTPServer = TwoReports
http.server.BaseHTTPRequestHandler.log_message = lambda *_: None
builtins.input = type_the_code
scope = {"__name__": "quick_start", "print": said.append}
exec(compile(code, "docs/quick-start.md", "exec"), scope)

sent, verdict, *reports = said
assert sent["delivery_status"]["status"] == "sent" and sent["payload"] == "order 17", sent
assert verdict == "code_valid", verdict
assert [report["delivery_status"]["status"] for report in reports] == ["delivered", "read"], reports
