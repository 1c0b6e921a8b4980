"""A sandbox of Countersign for one run of pytest. It takes a free port, keeps its data in a directory of pytest's, and is gone afterwards."""

import json
import os
import subprocess
import urllib.parse
import urllib.request

import pytest


class Gateway:
    """The sandbox: where the app under test sends its calls, and how a test moves its clock."""

    def __init__(self, ready):
        self.url = ready["api_url"]
        self.token = ready["token"]

    def call(self, method, **parameters):
        request = urllib.request.Request(
            f"{self.url}/{method}",
            data=urllib.parse.urlencode(parameters).encode(),
            headers={"Authorization": f"Bearer {self.token}"},
        )
        # Nothing of the environment's proxies may stand between a test and this machine. Refusals have status 200, too.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return json.load(answer)

    def advance_clock(self, seconds):
        """What is due then is done before this returns: a test never has to wait."""
        assert self.call("sandbox/clock", advance_seconds=seconds)["ok"]


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    directory = tmp_path_factory.mktemp("countersign")
    program = os.environ.get("COUNTERSIGN_BIN", "countersign")
    log = directory / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [program, "serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", directory / "data"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as server,
    ):
        try:
            # One line once it takes calls; none if it could not start.
            ready = server.stdout.readline()
            if not ready:
                pytest.fail(f"the sandbox did not start:\n{log.read_text()}")
            yield Gateway(json.loads(ready))
        finally:
            server.terminate()
