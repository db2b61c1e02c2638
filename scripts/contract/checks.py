"""A check of schemathesis beside its own, which any answer of 4xx or 5xx passes: each operation has a response `default`."""

import schemathesis


@schemathesis.check
def code_is_documented(ctx, response, case):
    """The document names the code of a problem for this operation and status, or for requests that reach no operation."""
    if response.status_code < 400 or not response.content:
        return
    responses = case.operation.definition.raw["responses"]
    named = set()
    for status in (str(response.status_code), "default"):
        described = responses.get(status, {})
        for name in described.get("$ref", "").split("/")[1:]:
            described = (case.operation.schema.raw_schema if name == "components" else described)[name]
        named.update(described.get("content", {}).get("application/problem+json", {}).get("examples", {}))
    code = response.json().get("code")
    assert code in named, f"{response.status_code} {code} is none of {sorted(named)}"
