"""How an app that signs people in by a code is tested. The numbers follow a script: see the documentation of the sandbox."""

import pytest


class Refused(Exception):
    """The gateway's error, by its name."""


class SignIn:
    """The app's own code would be here. All that a test changes of it is the address."""

    def __init__(self, gateway):
        self.gateway = gateway

    def ask(self, phone):
        answer = self.gateway.call("sendVerificationMessage", phone_number=phone, code_length=6, ttl=60)
        if not answer["ok"]:
            raise Refused(answer["error"])
        return answer["result"]["request_id"]

    def confirm(self, request_id, code):
        answer = self.gateway.call("checkVerificationStatus", request_id=request_id, code=code)
        return answer["result"]["verification_status"]["status"] == "code_valid"

    def status(self, request_id):
        return self.gateway.call("checkVerificationStatus", request_id=request_id)["result"]


@pytest.fixture
def sign_in(gateway):
    return SignIn(gateway)


def test_the_right_code_signs_in(sign_in):
    # A code for +99966X… is X repeated.
    request = sign_in.ask("+9996610001")
    assert sign_in.confirm(request, "111111")


def test_a_wrong_code_does_not(sign_in):
    request = sign_in.ask("+9996620001")
    assert not sign_in.confirm(request, "111111")


def test_a_number_that_cannot_be_reached_is_said_to_be_so(sign_in):
    with pytest.raises(Refused, match="PHONE_NUMBER_NOT_FOUND"):
        sign_in.ask("+9996630004")


def test_a_code_that_never_arrived_expires_and_is_refunded(sign_in, gateway):
    request = sign_in.ask("+9996640003")
    assert sign_in.status(request)["delivery_status"]["status"] == "sent"
    gateway.advance_clock(61)
    status = sign_in.status(request)
    assert status["delivery_status"]["status"] == "expired"
    assert status["is_refunded"]
