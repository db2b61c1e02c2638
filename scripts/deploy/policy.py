"""policy.py FOLDER: holds the rules against each rendered overlay FOLDER/*.yaml, then breaks the manifests as breaks.yaml
says, and fails too if a rule does not notice, or if a sentence of a rule is never put to the proof."""

import copy
import sys
from pathlib import Path

import yaml

import policy_pipeline
import policy_pods
import policy_settings
import policy_ways
from manifests import Rules, read

ALL = Rules({**policy_pods.rule.known, **policy_pipeline.rule.known, **policy_settings.rule.known, **policy_ways.rule.known})


def change(o, pointer, value, delete=False):
    """Sets what a path such as /spec/replicas names, or removes it; ~1 stands for a slash in a key."""
    steps = [step.replace("~1", "/") for step in pointer.strip("/").split("/")]
    for step in steps[:-1]:
        o = o[int(step)] if isinstance(o, list) else o.setdefault(step, {})
    last = int(steps[-1]) if isinstance(o, list) else steps[-1]
    if delete:
        del o[last]
    else:
        o[last] = value


def broken_copy(render, entry):
    """The render with the one thing broken that an entry of breaks.yaml describes."""
    render = copy.deepcopy(render)
    kind, _, name = entry["in"].partition("/")
    found = [o for o in render.of(kind) if o["metadata"]["name"].startswith(name)]
    if not found:
        raise SystemExit(f"breaks.yaml: there is no {entry['in']} in the overlay {render.overlay}")
    if entry.get("gone"):
        render.objects = [o for o in render.objects if o not in found]
    for o in found[:1]:
        for pointer, value in entry.get("set", {}).items():
            change(o, pointer, value)
        for pointer in entry.get("drop", []):
            change(o, pointer, None, delete=True)
    if "add" in entry:
        render.objects.append(entry["add"])
    return render


def main(folder):
    renders = {path.stem: read(path, path.stem) for path in sorted(Path(folder).glob("*.yaml"))}
    # An installation beside production, by name.
    if "staging" in renders:
        renders["staging"].beside = renders["prod"]
    complaints = []
    for overlay, render in renders.items():
        complaints += [f"{overlay}: {sentence} ({rule})" for rule, sentence in ALL.broken(render)]
    breaks = yaml.safe_load((Path(__file__).parent / "breaks.yaml").read_text(encoding="utf-8"))
    proven = set()
    for entry in breaks:
        render, rule = broken_copy(renders[entry.get("overlay", "prod")], entry), entry["rule"]
        lines = {line for sentence, line in ALL.sentences(rule, render) if entry["says"] in sentence}
        proven |= {(rule, line) for line in lines}
        if not lines:
            complaints.append(f"{rule} does not notice: {entry['says']} ({entry['in']})")
    for rule, line in sorted({(rule, line) for rule in ALL.known for line in ALL.lines(rule)} - proven):
        complaints.append(f"{rule}, line {line}: nothing in breaks.yaml shows that it can say this")
    for complaint in complaints:
        print(complaint)
    print(f"{len(ALL.known)} rules, {len(renders)} overlays, {len(breaks)} breaks: {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
