"""Runs the Node and curl code of docs/quick-start.md as it stands there.

Replaced are only what a reader would replace: the address, the port of the receiver, the typing of the code. Without `node` on the
machine its part is left out, and says so.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import inbox

BASE_URL = os.environ["COUNTERSIGN_URL"] + "/"
PHONE = "+391234567890"
page = (Path(__file__).parents[2] / "docs" / "quick-start.md").read_text(encoding="utf-8")


def blocks(fence: str) -> list[str]:
    found = re.findall(rf"^```{fence} [^\n]*\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found, f"no {fence} code on the page"
    return [block.replace("http://127.0.0.1:8099/", BASE_URL) for block in found]


def curl() -> None:
    def run(block: str, **variables: str) -> list[dict]:
        shell = subprocess.run(
            ["bash", "-euc", block], env=os.environ | variables, capture_output=True, text=True, timeout=60, check=True
        )
        decoder, text, answers = json.JSONDecoder(), shell.stdout.strip(), []
        while text:
            answer, end = decoder.raw_decode(text)
            assert answer["ok"], (block, answer)
            answers.append(answer["result"])
            text = text[end:].strip()
        return answers

    send, check, ask_first, revoke = blocks("sh")
    sent = run(send)[0]
    code = inbox.wait_for_message(BASE_URL, PHONE, sent["request_id"])["code"]
    status = run(check, REQUEST_ID=sent["request_id"], CODE=code)[0]
    assert status["verification_status"]["status"] == "code_valid", status
    ability, send_on_it = ask_first.strip().split("\n\n")
    able = run(ability)[0]
    assert run(send_on_it, REQUEST_ID=able["request_id"])[0]["delivery_status"]["status"] == "sent"
    assert run(revoke, REQUEST_ID=able["request_id"]) == [True]


def node() -> None:
    if shutil.which("node") is None:
        print("Node: left out, node is not on this machine")
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    code = "\n".join(blocks("js"))
    assert "9000" in code, "the receiver's port is no longer in the page"
    # One line for each thing that is printed, so that it can be read back.
    code = code.replace("9000", port).replace("console.log(", "print(")
    code += '\nfunction print(it) { process.stdout.write(JSON.stringify(it) + "\\n"); }\n'
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "quick_start.mjs")
        file.write_text(code, encoding="utf-8")
        with subprocess.Popen(
            ["node", str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as program:
            try:
                sent = json.loads(program.stdout.readline())
                message = inbox.wait_for_message(BASE_URL, PHONE, sent["request_id"])
                program.stdin.write(message["code"] + "\n")
                program.stdin.flush()
                verdict = program.stdout.readline().removeprefix("Code: ")
                assert json.loads(verdict) == "code_valid", verdict
                reports = [json.loads(program.stdout.readline()) for _ in range(2)]
            finally:
                program.kill()
    states = [report["delivery_status"]["status"] for report in reports]
    assert states == ["delivered", "read"], reports


curl()
node()
