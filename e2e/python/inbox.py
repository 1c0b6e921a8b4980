"""Looks into the sandbox's inbox, as the person does who waits for a code."""

import requests


def wait_for_message(base_url: str, phone: str, request_id: str) -> dict:
    """The message of a request, as soon as the inbox has it. Looking changes no state."""
    # The stream tells that something changed; it is open before the first look, so that no change is missed.
    with requests.get(base_url + "inbox/events", stream=True, timeout=20) as events:
        changes = events.iter_content(chunk_size=None)
        while True:
            messages = requests.get(base_url + "inbox/messages", params={"phone": phone}, timeout=20).json()
            for message in messages:
                if message["request_id"] == request_id:
                    return message
            next(changes)


def read(base_url: str, phone: str) -> None:
    """Reads every message of a number."""
    answer = requests.post(base_url + "inbox/read", json={"phone_number": phone}, timeout=20)
    assert answer.status_code == 200, answer.text
