"""What a PromQL expression asks for. Only scripts/lib/monitoring.py uses it; whether it parses is promtool's to say."""

import re

# What a dashboard fills in by itself, with something of its kind.
GRAFANA = {"$__rate_interval": "5m", "$__interval": "30s", "$__range": "1h"}

WORDS = set("and or unless atan2 bool offset inf nan start end group_left group_right".split())

NO_METRIC = re.compile(
    r"""  "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` | \#[^\n]*          # texts and comments
        | \b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)  # labels""",
    re.VERBOSE,
)
# A name that is no part of a number or a duration, and not followed by the parenthesis of a function.
NAME = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?![\w:])(?!\s*\()")


def filled_in(query, variables):
    """The query as Grafana would send it: its own variables first, then the dashboard's, by name and value."""
    for name, value in GRAFANA.items():
        query = query.replace(name, value)
    for name, value in variables.items():
        query = re.sub(rf"\$(?:{re.escape(name)}\b|{{{re.escape(name)}}})", lambda _: value, query)
    return query


def metrics(expression):
    """The names of the metrics that are asked for."""
    rest = re.sub(r"\{[^}]*\}", " ", NO_METRIC.sub(" ", expression))
    return {name for name in NAME.findall(rest) if name.lower() not in WORDS}
