"""Every method of the library `tg-gateway` (asynchronous, on aiohttp), unmodified, against the sandbox.

The library sends JSON, reads answers into pydantic models, and hard-codes its host: `at_home` answers for that name. It
shows the error's name only inside the text of its exception, and only where the HTTP status is 200.
"""

import asyncio
import importlib.metadata
import os

from stollen.exceptions import StollenError
from tg_gateway import TelegramGateway

import at_home
from reports import Receiver

assert importlib.metadata.version("tg-gateway") == "1.0"
TOKEN = os.environ["COUNTERSIGN_TOKEN"]
PHONE = "+391234567891"


async def flow() -> None:
    async with TelegramGateway(api_token=TOKEN) as gateway:
        able = await gateway.check_send_ability(phone_number=PHONE)
        assert able.phone_number == PHONE and able.request_cost == 0.01, able
        assert able.delivery_status is None and able.remaining_balance is not None, able

        sent = await gateway.send_verification_message(
            phone_number=PHONE, request_id=able.request_id, code="4711", payload="order 17", ttl=60
        )
        assert sent.request_id == able.request_id and sent.remaining_balance is None, sent
        assert sent.delivery_status.status == "sent" and sent.payload == "order 17", sent

        status = await gateway.check_verification_status(request_id=sent.request_id)
        assert status.delivery_status.status == "sent" and status.verification_status is None, status
        status = await gateway.check_verification_status(request_id=sent.request_id, code="0000")
        assert status.verification_status.status == "code_invalid", status
        status = await gateway.check_verification_status(request_id=sent.request_id, code="4711")
        assert status.verification_status.status == "code_valid", status
        assert status.verification_status.code_entered == "4711", status

        with Receiver(TOKEN) as receiver:
            sent = await gateway.send_verification_message(
                phone_number="+9996650001", code_length=8, callback_url=receiver.url
            )
            for state in ("delivered", "read"):
                report, body, headers = await asyncio.to_thread(receiver.next)
                assert report["delivery_status"]["status"] == state, report
                # The library's own check of the signature agrees with ours.
                timestamp, signature = headers["X-Request-Timestamp"], headers["X-Request-Signature"]
                assert gateway.check_signature(int(timestamp), signature, body.decode())
                assert not gateway.check_signature(int(timestamp) + 1, signature, body.decode())
            status = await gateway.check_verification_status(request_id=sent.request_id, code="55555555")
            assert status.verification_status.status == "code_valid", status

        sent = await gateway.send_verification_message(phone_number=PHONE)
        assert await gateway.revoke_verification_message(request_id=sent.request_id) is True
        status = await gateway.check_verification_status(request_id=sent.request_id)
        assert status.delivery_status.status == "revoked", status

        with at_home.Refused(StollenError, "PHONE_NUMBER_INVALID"):
            await gateway.send_verification_message(phone_number="not a number")
        with at_home.Refused(StollenError, "PHONE_NUMBER_NOT_FOUND"):
            await gateway.check_send_ability(phone_number="+9996650004")
        with at_home.Refused(StollenError, "FLOOD_WAIT_30"):
            await gateway.send_verification_message(phone_number="+9996650005")
        with at_home.Refused(StollenError, "REQUEST_ID_INVALID"):
            await gateway.check_verification_status(request_id="unknown")
        with at_home.Refused(StollenError, "REQUEST_ID_INVALID"):
            await gateway.revoke_verification_message(request_id="unknown")
        with at_home.Refused(StollenError, "TTL_INVALID"):
            await gateway.send_verification_message(phone_number=PHONE, ttl=29)
    async with TelegramGateway(api_token="AAAA") as stranger:
        with at_home.Refused(StollenError, "ACCESS_TOKEN_INVALID"):
            await stranger.check_send_ability(phone_number=PHONE)


at_home.point(int(os.environ["COUNTERSIGN_TLS_PORT"]))
at_home.require_trusted_certificate()
asyncio.run(flow())
