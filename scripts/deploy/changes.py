"""changes.py BEFORE AFTER: whether a cluster that has the manifests BEFORE takes AFTER, which somebody made of them: the names
and labels are such as the API server takes, what it never changes has not changed, and a tool that applies them again and
again (Argo CD, Flux) finds nothing to do."""

import re
import sys

from manifests import OURS, binary, containers, holds, migrations, read, where

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
# Kinds whose name becomes a label or the name of a host.
SHORT = ("Namespace", "Service", "Job")
# What the API server refuses to change, by kind, as a path into the object.
FIXED = {
    "Job": [("spec", "template"), ("spec", "selector"), ("spec", "completions")],
    "Deployment": [("spec", "selector")],
    "StatefulSet": [("spec", "selector"), ("spec", "serviceName"), ("spec", "volumeClaimTemplates")],
    "Service": [("spec", "clusterIP")],
}


def at(o, path):
    for step in path:
        o = (o or {}).get(step)
    return o


def identity(o):
    return o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]


def labels(o):
    """Every set of labels in an object, those of its pods among them."""
    yield o["metadata"].get("labels", {})
    yield (at(o, ("spec", "template", "metadata", "labels")) or {}) if o["kind"] in ("Deployment", "StatefulSet", "Job") else {}


def complaints(before, after):
    known = {identity(o): o for o in before.objects}
    for o in after.objects:
        name = o["metadata"].get("name", "")
        if len(name) > 253 or not (LABEL if o["kind"] in SHORT else SUBDOMAIN).fullmatch(name):
            yield f"{name!r} is no name of a {o['kind']}"
        for key, value in ((key, value) for each in labels(o) for key, value in each.items()):
            if not VALUE.fullmatch(value):
                yield f"{where(o)}: {key}={value} is no value of a label"
        for path in FIXED.get(o["kind"], []) if identity(o) in known else []:
            if at(o, path) != at(known[identity(o)], path):
                yield f"{where(o)}: {'.'.join(path)} cannot be changed"
        if o["kind"] == "Job" and "ttlSecondsAfterFinished" in o["spec"]:
            yield f"{where(o)}: it goes by itself, and is made again by each sync of Argo CD or Flux"
    writes = {c["image"] for o in after.ours() for c in containers(o, init=False) if binary(o) == "issue-consumer"}
    migrates = {container["image"] for _, container in migrations(after) if holds(container["image"]) in OURS}
    # Somebody may migrate by hand; whatever migrates has the version that writes.
    if migrates - writes:
        yield f"{sorted(migrates)} migrates for {sorted(writes)}"


def main(before, after):
    found = list(complaints(read(before, "before"), read(after, "after")))
    for complaint in found:
        print(complaint)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
