"""The quick start that users of the Telegram Gateway know, with `requests`, against a running sandbox.

The calls are those of docs/quick-start.md; the asserts around them are the test. Only `BASE_URL` differs from a program
that was written for the Telegram Gateway.
"""

import os

import requests

import inbox
from reports import Receiver

BASE_URL = os.environ["COUNTERSIGN_URL"] + "/"
TOKEN = os.environ["COUNTERSIGN_TOKEN"]
PHONE = "+391234567890"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
REQUIRED = {"request_id", "phone_number", "request_cost"}


def call(method: str, parameters: dict):
    """The tutorial's own way to call: it reads an error only where the HTTP status is 200."""
    response = requests.post(BASE_URL + method, headers=HEADERS, json=parameters, timeout=20)
    assert response.status_code == 200, response.status_code
    assert response.headers["Content-Type"].startswith("application/json"), response.headers
    answer = response.json()
    if answer.get("ok"):
        assert set(answer) == {"ok", "result"}, answer
        return answer["result"]
    assert set(answer) == {"ok", "error"}, answer
    return answer["error"]


def send_and_check_the_code(receiver: Receiver) -> None:
    sent = call(
        "sendVerificationMessage",
        {"phone_number": PHONE, "code_length": 6, "ttl": 60, "payload": "my_payload_here", "callback_url": receiver.url},
    )
    assert set(sent) == REQUIRED | {"remaining_balance", "delivery_status", "payload"}, sent
    assert sent["phone_number"] == PHONE and sent["payload"] == "my_payload_here", sent
    assert sent["request_cost"] == 0.01 and sent["delivery_status"]["status"] == "sent", sent

    # The person opens the messenger and reads the code.
    code = inbox.wait_for_message(BASE_URL, PHONE, sent["request_id"])["code"]
    assert len(code) == 6 and code.isdigit(), code
    inbox.read(BASE_URL, PHONE)
    while True:
        report, _, _ = receiver.next()
        assert report["request_id"] == sent["request_id"] and report["payload"] == "my_payload_here", report
        assert "remaining_balance" not in report, report
        if report["delivery_status"]["status"] == "read":
            break
        assert report["delivery_status"]["status"] == "delivered", report

    wrong = "".join(str(9 - int(digit)) for digit in code)
    status = call("checkVerificationStatus", {"request_id": sent["request_id"], "code": wrong})
    assert status["verification_status"]["status"] == "code_invalid", status
    assert status["verification_status"]["code_entered"] == wrong, status
    status = call("checkVerificationStatus", {"request_id": sent["request_id"], "code": code})
    assert status["verification_status"]["status"] == "code_valid", status
    assert status["delivery_status"]["status"] == "read" and "remaining_balance" not in status, status


def check_ability_then_send() -> None:
    able = call("checkSendAbility", {"phone_number": PHONE})
    assert set(able) == REQUIRED | {"remaining_balance"}, able
    assert call("revokeVerificationMessage", {"request_id": able["request_id"]}) == "REQUEST_ID_INVALID"

    parameters = {"phone_number": PHONE, "request_id": able["request_id"], "code": "123456"}
    sent = call("sendVerificationMessage", parameters)
    # One fee for both: the send charges nothing, so it doesn't tell a balance.
    assert set(sent) == REQUIRED | {"delivery_status"}, sent
    assert sent["request_id"] == able["request_id"] and sent["request_cost"] == able["request_cost"], sent
    assert call("sendVerificationMessage", parameters) == "REQUEST_ID_INVALID"

    status = call("checkVerificationStatus", {"request_id": sent["request_id"]})
    assert status == sent, (status, sent)
    after = call("checkSendAbility", {"phone_number": PHONE})
    assert round(able["remaining_balance"] - after["remaining_balance"], 6) == 0.01, (able, after)


def revoke(receiver: Receiver) -> None:
    sent = call("sendVerificationMessage", {"phone_number": PHONE, "callback_url": receiver.url})
    assert call("revokeVerificationMessage", {"request_id": sent["request_id"]}) is True
    report, body, _ = receiver.next()
    assert report["delivery_status"]["status"] == "revoked", report
    assert b'"is_refunded"' not in body, "a revocation never refunds"
    status = call("checkVerificationStatus", {"request_id": sent["request_id"], "code": "0000"})
    assert status["delivery_status"]["status"] == "revoked", status
    assert status["verification_status"]["status"] == "expired", status


def scripted_numbers(receiver: Receiver) -> None:
    sent = call("sendVerificationMessage", {"phone_number": "+9996670001", "callback_url": receiver.url, "code_length": 5})
    states = [receiver.next()[0]["delivery_status"]["status"] for _ in range(2)]
    assert states == ["delivered", "read"], states
    status = call("checkVerificationStatus", {"request_id": sent["request_id"], "code": "77777"})
    assert status["verification_status"]["status"] == "code_valid", status

    lost = call("sendVerificationMessage", {"phone_number": "+9996620003", "ttl": 30, "callback_url": receiver.url})
    moved = requests.post(BASE_URL + "sandbox/clock", headers=HEADERS, json={"advance_seconds": 3600}, timeout=20).json()
    assert moved["ok"] and moved["result"]["now"] > lost["delivery_status"]["updated_at"], moved
    status = call("checkVerificationStatus", {"request_id": lost["request_id"]})
    assert status["delivery_status"]["status"] == "expired" and status["is_refunded"] is True, status
    # The clock is an hour ahead, and yet the receiver finds the report fresh: `X-Request-Timestamp` is real time.
    report, _, _ = receiver.next()
    assert report == status, (report, status)

    assert call("sendVerificationMessage", {"phone_number": "+9996630004"}) == "PHONE_NUMBER_NOT_FOUND"
    assert call("sendVerificationMessage", {"phone_number": "+9996630005"}) == "FLOOD_WAIT_30"


def errors() -> None:
    assert call("sendVerificationMessage", {}) == "PHONE_NUMBER_INVALID"
    assert call("checkVerificationStatus", {}) == "REQUEST_ID_REQUIRED"
    assert call("checkVerificationStatus", {"request_id": "unknown"}) == "REQUEST_ID_INVALID"
    assert call("sendVerificationMessages", {"phone_number": PHONE}) == "UNKNOWN_METHOD"
    stranger = requests.post(BASE_URL + "checkSendAbility", headers={"Authorization": "Bearer AAAA"}, timeout=20)
    assert stranger.json() == {"ok": False, "error": "ACCESS_TOKEN_INVALID"}, stranger.text


with Receiver(TOKEN) as receiver:
    send_and_check_the_code(receiver)
    check_ability_then_send()
    revoke(receiver)
    scripted_numbers(receiver)
    errors()
