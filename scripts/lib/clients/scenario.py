"""The scenario of scripts/clients, through the generated client for Python."""

import os
import time

from coupons import ApiClient, ApiException, Configuration, IssuingApi, Problem

CODE = os.environ["COUPON"]


def api(token):
    return IssuingApi(ApiClient(Configuration(host=os.environ["URL"], access_token=token)))


def refused(token):
    """The status and the problem of an ask that must be refused."""
    try:
        held = api(token).ask_for_coupon(CODE)
    except ApiException as refusal:
        return refusal.status, Problem.from_json(refusal.body)
    raise AssertionError(f"not refused: {held}")


holder = api(os.environ["HOLDER"])
first = holder.ask_for_coupon_with_http_info(CODE)
assert first.status_code == 202, first
again = holder.ask_for_coupon_with_http_info(CODE)
assert again.status_code == 200 and again.data.request_id == first.data.request_id, again

status, problem = refused(os.environ["LATE"])
assert (status, problem.code) == (409, "SOLD_OUT"), problem

deadline = time.monotonic() + 30
while (issue := holder.show_issue(CODE, first.data.request_id)).state != "issued":
    assert issue.state in ("reserved", "accepted") and time.monotonic() < deadline, issue
    time.sleep(0.1)
assert issue.expires_at is not None, issue

if os.environ.get("ODD"):
    status, problem = refused(os.environ["ODD"])
    assert status == problem.status == 409 and problem.code not in ("SOLD_OUT", "NOT_OPEN", "CLOSED"), problem
