"""Verifies what standard input holds, [{secret, headers, body}], with the official verifier; raises at the first that fails."""
import json
import sys

from standardwebhooks.webhooks import Webhook

received = json.load(sys.stdin)
for one in received:
    Webhook(one["secret"]).verify(one["body"], one["headers"])
print(f"python: {len(received)} verified")
