"""What schemathesis judges besides its own checks where it follows the links of /openapi.json (e2e/tests/openapi.rs): a request that
an answer named is known to the method that the link leads to. How often which method was reached so is written to
COUNTERSIGN_LINKS_REPORT, so that the test knows that links were followed at all."""

import atexit
import collections
import json
import os

import schemathesis

# Numbers of the sandbox whose messages come to the inbox and stay as they are.
REACHED = [f"+99966000{last:02}" for last in range(20, 30)]

followed = collections.Counter()


@schemathesis.hook
def map_query(context, query):
    return reaching(query)


@schemathesis.hook
def map_body(context, body):
    return reaching(body)


def reaching(parameters):
    """Of random numbers nearly none can exist, and no request would come of them: two of three are replaced, by what they are."""
    number = parameters.get("phone_number") if isinstance(parameters, dict) else None
    if isinstance(number, str) and (place := sum(number.encode()) % 15) < len(REACHED):
        return {**parameters, "phone_number": REACHED[place]}
    return parameters


@schemathesis.check
def linked_requests_are_known(ctx, response, case):
    parent = ctx.internals.find_parent(case_id=case.id)
    if parent is None:
        return
    told = ctx.internals.find_response(case_id=parent.id)
    named = request_of(told)
    if named is None or given(case) != named:
        return
    followed[case.path.strip("/")] += 1
    answer = response.json()
    if answer.get("error") in ("REQUEST_ID_INVALID", "REQUEST_ID_REQUIRED") and not may_be_over(case):
        raise AssertionError(f"{parent.path} named {named}, and {case.path} answers {answer['error']}")


def request_of(told):
    """The request that an answer is about, if it is about one."""
    if told is None or told.status_code != 200:
        return None
    answer = told.json()
    result = answer.get("result") if isinstance(answer, dict) else None
    return result.get("request_id") if isinstance(result, dict) else None


def given(case):
    """The request that a call is about."""
    for parameters in (case.body, case.query):
        if isinstance(parameters, dict) and "request_id" in parameters:
            return parameters["request_id"]
    return None


def may_be_over(case):
    """A check can be spent by one send only, and for its own number: a second send on it is refused by the contract."""
    return case.path.strip("/") == "sendVerificationMessage"


@atexit.register
def report():
    with open(os.environ["COUNTERSIGN_LINKS_REPORT"], "w", encoding="utf-8") as file:
        json.dump(followed, file)
