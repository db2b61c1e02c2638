"""The checks of deploy/monitoring; scripts/monitoring-check installs what they need and runs this.

A check takes a folder laid out like deploy/monitoring and gives its complaints. `python3 scripts/lib/monitoring.py`
runs all of them on the real folder, and then each on the fixtures that it must reject.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

import promql

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
BINARIES = ("coupon-core", "issuer-api", "issue-consumer", "dlq-consumer")
# What Prometheus makes itself.
BUILT_IN = {"ALERTS", "up"}


def promtool(*words, cwd=None):
    """What promtool has to say, or nothing when it is content."""
    run = subprocess.run([os.environ["PROMTOOL"], *words], cwd=cwd, text=True, capture_output=True)
    return "" if run.returncode == 0 else (run.stdout + run.stderr).strip()


def load(folder, kind):
    return {path.name: yaml.safe_load(path.read_text()) for path in sorted((folder / kind).glob("*.yaml"))}


def rules(folder):
    """Every rule, with the name of its file."""
    files = load(folder, "rules").items()
    return [(name, rule) for name, file in files for group in file["groups"] for rule in group["rules"]]


def alerts(folder):
    return [(name, rule) for name, rule in rules(folder) if "alert" in rule]


def dashboards(folder):
    return {path.name: json.loads(path.read_text()) for path in sorted((folder / "dashboards").glob("*.json"))}


def panels(board):
    return board.get("panels", []) + [inner for panel in board.get("panels", []) for inner in panel.get("panels", [])]


def queries(folder):
    """Every query of every dashboard as Prometheus would get it, with where it stands."""
    for name, board in dashboards(folder).items():
        listed = board["templating"]["list"]
        variables = {of["name"]: of["current"]["value"] for of in listed if of["type"] == "custom"}
        variables.update({of["name"]: of["allValue"] for of in listed if of["type"] == "query"})
        for panel in panels(board):
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}", promql.filled_in(target["expr"], variables)
        for annotation in board.get("annotations", {}).get("list", []):
            yield f"{name}: annotation {annotation['name']}", promql.filled_in(annotation["expr"], variables)
        for variable in listed:
            if variable["type"] == "query":
                # label_values(what, label) is Grafana's own; what is in it is PromQL.
                yield f"{name}: ${variable['name']}", re.match(r"label_values\((.*), \w+\)", variable["query"]["query"])[1]


def exported():
    """The names under which the code records, as they stand in /metrics."""
    names = set()
    for crate in BINARIES:
        for path in (ROOT / "crates" / crate / "src").rglob("*.rs"):
            for kind, name in re.findall(r'metrics::(counter|gauge|histogram)!\(\s*"(\w+)"', path.read_text()):
                parts = ("_bucket", "_sum", "_count") if name.endswith("_seconds") else ("", "_sum", "_count")
                names |= {name + part for part in parts} if kind == "histogram" else {name}
    return names


def rules_parse(folder):
    said = promtool("check", "rules", *(str(path) for path in sorted((folder / "rules").glob("*.yaml"))))
    return [said] if said else []


def tests_pass(folder):
    said = promtool("test", "rules", *(path.name for path in sorted((folder / "tests").glob("*.yaml"))), cwd=folder / "tests")
    return [said] if said else []


def alerts_say_what_is_needed(folder):
    for _, rule in alerts(folder):
        if rule.get("labels", {}).get("severity") not in ("critical", "warning"):
            yield f"{rule['alert']} has no severity, critical or warning"
        for annotation in ("summary", "description", "runbook"):
            if not rule.get("annotations", {}).get(annotation):
                yield f"{rule['alert']} has no {annotation}"


def runbook_entries_exist(folder):
    headings = set(re.findall(r"^### (.*)$", (ROOT / "deploy" / "README.md").read_text(), re.MULTILINE))
    for _, rule in alerts(folder):
        entry = rule.get("annotations", {}).get("runbook")
        if entry not in headings:
            yield f"{rule['alert']}: deploy/README.md has no entry '### {entry}'"


def runbook_links_lead_to_the_entries(folder):
    """As GitHub and GitLab make anchors of headings."""
    for _, rule in alerts(folder):
        entry = rule.get("annotations", {}).get("runbook", "")
        anchor = re.sub(r"[^\w\- ]", "", entry.lower()).replace(" ", "-")
        if rule.get("annotations", {}).get("runbook_url", "").partition("#")[2] != anchor:
            yield f"{rule['alert']}: its runbook_url does not end with #{anchor}"


def rules_keep_installations_apart(folder):
    """What is added up is added up for each installation by itself."""
    for _, rule in rules(folder):
        for words in re.findall(r"\b(?:sum|max|min|avg|count|group)\b\s*(?:by\s*\(([^)]*)\))?\s*\(", rule["expr"]):
            if "installation" not in [word.strip() for word in words.split(",")]:
                yield f"{rule.get('alert') or rule['record']} adds up installations: {rule['expr'].strip()}"


def alerts_are_tested(folder):
    """Whether the tests notice an alert that never fires, and one that always does."""
    wanted = {rule["alert"] for _, rule in alerts(folder)}
    for expression, fires, what in (
        ("vector(0) > 1", True, "no test of {} fails when it never fires"),
        ("vector(1)", False, "no test of {} fails when it always fires"),
    ):
        noticed = set(re.findall(r"alertname: ?(\w+)", tests_of_broken_rules(folder, expression, fires)))
        yield from (what.format(alert) for alert in sorted(wanted - noticed))


def tests_of_broken_rules(folder, expression, fires):
    """Runs the tests with this expression in each alert: only what is expected to fire, or to be silent."""
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("rules", "tests"):
            (Path(scratch) / kind).mkdir()
        for name, file in load(folder, "rules").items():
            for group in file["groups"]:
                # What is recorded takes long to compute, and no alert asks for it now.
                group["rules"] = [{**rule, "expr": expression} for rule in group["rules"] if "alert" in rule]
            (Path(scratch) / "rules" / name).write_text(yaml.safe_dump(file))
        for name, file in load(folder, "tests").items():
            file.pop("group_eval_order", None)
            for test in file["tests"]:
                test.pop("promql_expr_test", None)
                expected = test.get("alert_rule_test", [])
                test["alert_rule_test"] = [one for one in expected if bool(one["exp_alerts"]) == fires]
            (Path(scratch) / "tests" / name).write_text(yaml.safe_dump(file))
        names = sorted(path.name for path in (Path(scratch) / "tests").iterdir())
        return promtool("test", "rules", *names, cwd=Path(scratch) / "tests")


def dashboards_are_portable(folder):
    for path in sorted((folder / "dashboards").glob("*.json")):
        try:
            board = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            yield f"{path.name} is no JSON: {error}"
            continue
        if not re.fullmatch(r"[a-z-]{1,40}", board.get("uid", "")) or not board.get("title"):
            yield f"{path.name} has no uid or no title"
        every = panels(board)
        if len({panel["id"] for panel in every}) != len(every):
            yield f"{path.name}: two panels have one id"
        used = re.findall(r'"uid": ?"([^"]*)"', json.dumps(every + board["templating"]["list"] + board.get("annotations", {}).get("list", [])))
        if set(used) != {"${datasource}"}:
            yield f"{path.name}: a panel has a datasource of its own: {sorted(set(used))}"


def queries_parse(folder):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        every = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries(folder))]
        yaml.safe_dump({"groups": [{"name": "queries", "rules": every}]}, file)
        file.flush()
        said = promtool("check", "rules", file.name)
    for number, (place, query) in enumerate(queries(folder)):
        if re.search(rf"query:{number}\b", said):
            yield f"{place} does not parse: {query}\n{said}"


def queries_ask_for_the_chosen_installations(folder):
    for name, board in dashboards(folder).items():
        if not any(of["name"] == "installation" for of in board["templating"]["list"]):
            yield f"{name} has no variable `installation`"
        for panel in panels(board):
            for target in panel.get("targets", []):
                chosen = target["expr"].count('installation=~"$installation"')
                # The targets of the objectives are the same for all.
                if chosen < len(re.findall(r"(?:\bcoupon_|coupon:(?!objective:ratio\b)|\bALERTS\b)", target["expr"])):
                    yield f"{name}: {panel['title']} asks for every installation: {target['expr']}"


def metrics_are_recorded(folder):
    recorded = {rule["record"] for _, rule in rules(folder) if "record" in rule}
    known = exported() | recorded | BUILT_IN
    asked = [(f"{name}: {rule.get('alert') or rule['record']}", rule["expr"]) for name, rule in rules(folder)]
    for place, expression in [*asked, *queries(folder)]:
        for name in sorted(promql.metrics(expression) - known):
            yield f"{place}: nothing records {name}"


CHECKS = (
    rules_parse,
    tests_pass,
    alerts_say_what_is_needed,
    runbook_entries_exist,
    runbook_links_lead_to_the_entries,
    rules_keep_installations_apart,
    alerts_are_tested,
    dashboards_are_portable,
    queries_parse,
    queries_ask_for_the_chosen_installations,
    metrics_are_recorded,
)


def main():
    failed = False
    for check in CHECKS:
        try:
            complaints = list(check(MONITORING))
        except (yaml.YAMLError, json.JSONDecodeError, KeyError, TypeError) as error:
            complaints = [f"cannot be read: {error!r}"]
        failed |= bool(complaints)
        print(f"{'FAILED' if complaints else 'ok':8}{check.__name__.replace('_', ' ')}")
        print("".join(f"          {line}\n" for text in complaints for line in text.splitlines()), end="")
    unproven = {check.__name__ for check in CHECKS}
    for fixture in sorted((MONITORING / "fixtures").iterdir()):
        name, text = (fixture / "rejected-by").read_text().strip().split(": ", 1)
        rejected = any(text in complaint for complaint in globals()[name](fixture))
        failed |= not rejected
        unproven.discard(name)
        print(f"{'ok' if rejected else 'FAILED':8}fixture {fixture.name} is {'' if rejected else 'not '}rejected: {text}")
    for name in sorted(unproven):
        print(f"FAILED  no fixture proves {name}")
    if failed or unproven:
        sys.exit(1)
    print(f"deploy/monitoring is sound: {len(alerts(MONITORING))} alerts, {len(list(queries(MONITORING)))} queries")


if __name__ == "__main__":
    main()
