"""Every method of the library `telegram-gateway` (synchronous, on `requests`), unmodified, against the sandbox.

The library sends forms, fails on any field that it doesn't know, and hard-codes its host: `at_home` answers for that name.
"""

import importlib.metadata
import os

import requests
from telegram_gateway import TelegramGateway

import at_home
from reports import Receiver

assert importlib.metadata.version("telegram-gateway") == "0.0.5"
TOKEN = os.environ["COUNTERSIGN_TOKEN"]
PHONE = "+391234567890"

at_home.point(int(os.environ["COUNTERSIGN_TLS_PORT"]))
at_home.require_trusted_certificate()
gateway = TelegramGateway(TOKEN)

able = gateway.checkSendAbility(PHONE)
assert able.phone_number == PHONE and able.request_cost == 0.01, able
assert able.delivery_status is None and able.remaining_balance is not None, able

sent = gateway.sendVerificationMessage(PHONE, code=4711, request_id=able.request_id, payload="order 17", ttl=60)
assert sent.request_id == able.request_id and sent.remaining_balance is None, sent
assert sent.delivery_status.status == "sent" and sent.payload == "order 17", sent

# An empty code is no code. (Without one, this version of the library refuses its own default, `None`.)
status = gateway.checkVerificationStatus(sent.request_id, code="")
assert status.delivery_status.status == "sent" and status.verification_status is None, status
status = gateway.checkVerificationStatus(sent.request_id, code="0000")
assert status.verification_status.status == "code_invalid", status
assert status.verification_status.code_entered == "0000", status
status = gateway.checkVerificationStatus(sent.request_id, code=4711)
assert status.verification_status.status == "code_valid", status

with Receiver(TOKEN) as receiver:
    sent = gateway.sendVerificationMessage("+9996640001", code_length=8, callback_url=receiver.url)
    assert [receiver.next()[0]["delivery_status"]["status"] for _ in range(2)] == ["delivered", "read"]
    status = gateway.checkVerificationStatus(sent.request_id, code="44444444")
    assert status.verification_status.status == "code_valid", status

sent = gateway.sendVerificationMessage(PHONE)
assert gateway.revokeVerificationMessage(sent.request_id) is None
assert gateway.checkVerificationStatus(sent.request_id, code="").delivery_status.status == "revoked"

# A refunded request has a field more, and the library must know it.
sent = gateway.sendVerificationMessage("+9996640003", ttl=30)
moved = requests.post(
    "https://gatewayapi.telegram.org/sandbox/clock",
    headers={"Authorization": f"Bearer {TOKEN}"},
    json={"advance_seconds": 31},
    timeout=20,
)
assert moved.json()["ok"], moved.text
status = gateway.checkVerificationStatus(sent.request_id, code="")
assert status.delivery_status.status == "expired" and status.is_refunded is True, status

with at_home.Refused(RuntimeError, "PHONE_NUMBER_INVALID"):
    gateway.sendVerificationMessage("not a number")
with at_home.Refused(RuntimeError, "PHONE_NUMBER_NOT_FOUND"):
    gateway.checkSendAbility("+9996640004")
with at_home.Refused(RuntimeError, "FLOOD_WAIT_30"):
    gateway.checkSendAbility("+9996640005")
with at_home.Refused(RuntimeError, "REQUEST_ID_INVALID"):
    gateway.checkVerificationStatus("unknown", code="1234")
with at_home.Refused(RuntimeError, "REQUEST_ID_INVALID"):
    gateway.revokeVerificationMessage("unknown")
with at_home.Refused(RuntimeError, "SENDER_USERNAME_INVALID"):
    gateway.sendVerificationMessage(PHONE, sender_username="@nobody_at_all")
with at_home.Refused(RuntimeError, "ACCESS_TOKEN_INVALID"):
    TelegramGateway("AAAA").checkSendAbility(PHONE)
