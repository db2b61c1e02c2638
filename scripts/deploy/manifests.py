"""Rendered manifests: reading them, finding what belongs together, and the rules that look at them."""

import ast
import inspect
import textwrap
from dataclasses import dataclass, field

import yaml

OURS = ("issuer-api", "issue-consumer", "dlq-consumer")
WORKLOADS = ("Deployment", "StatefulSet", "Job")
AUTOSCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
CLUSTER_WIDE = ("Namespace",)


@dataclass
class Render:
    """What one overlay renders to."""

    overlay: str
    objects: list
    # Another installation that is to share a Kafka and a Prometheus with this one.
    beside: "Render | None" = None

    def of(self, *kinds):
        return [o for o in self.objects if o["kind"] in kinds]

    def named(self, kind, name):
        return next((o for o in self.of(kind) if o["metadata"]["name"] == name), None)

    def workloads(self):
        return self.of(*WORKLOADS)

    def ours(self):
        """The Deployments of our own binaries."""
        return [o for o in self.of("Deployment") if binary(o) in OURS]

    def autoscalers(self, workload):
        target = workload["metadata"]["name"]
        return [o for o in self.of(*AUTOSCALERS) if o["spec"]["scaleTargetRef"]["name"] == target]


@dataclass
class Rules:
    """Functions from a Render to sentences about what is wrong, each under a name."""

    known: dict = field(default_factory=dict)

    def __call__(self, function):
        self.known[function.__name__.replace("_", "-")] = function
        return function

    def broken(self, render):
        """All that is wrong, as (rule, sentence)."""
        return [(name, sentence) for name in self.known for sentence, _ in self.sentences(name, render)]

    def sentences(self, name, render):
        """What one rule says, each with the line of code that says it."""
        running = self.known[name](render)
        for sentence in running:
            yield sentence, running.gi_frame.f_lineno

    def lines(self, name):
        """The lines of code in which a rule says something."""
        lines, first = inspect.getsourcelines(self.known[name])
        tree = ast.parse(textwrap.dedent("".join(lines)))
        return {first + node.lineno - 1 for node in ast.walk(tree) if isinstance(node, ast.Yield)}


def read(path, overlay):
    with open(path, encoding="utf-8") as file:
        return Render(overlay, [o for o in yaml.safe_load_all(file) if o])


def where(o, container=None):
    return f"{o['kind']}/{o['metadata']['name']}" + (f" {container['name']}" if container else "")


def pod(workload):
    return workload["spec"]["template"]["spec"]


def pod_labels(workload):
    return workload["spec"]["template"]["metadata"].get("labels", {})


def containers(workload, init=True):
    spec = pod(workload)
    return spec["containers"] + (spec.get("initContainers", []) if init else [])


def holds(image):
    """Which binary an image holds."""
    return image.split("@")[0].rsplit("/", 1)[-1].split(":")[0]


def binary(workload):
    """Which binary the first container's image holds."""
    return holds(pod(workload)["containers"][0]["image"])


def migrations(render):
    """Each container that brings the schema up to date."""
    for o in render.workloads():
        yield from ((o, container) for container in containers(o) if "migrate" in container.get("args", []))


def version(image):
    """The tag of an image, or its digest; empty without either."""
    name = image.rsplit("/", 1)[-1]
    return name.split("@", 1)[1] if "@" in name else name.partition(":")[2]


def selects(selector, labels):
    """Whether a label selector matches."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for expression in selector.get("matchExpressions", []):
        key, operator = expression["key"], expression["operator"]
        if operator == "In" and labels.get(key) not in expression["values"]:
            return False
        if operator == "NotIn" and labels.get(key) in expression["values"]:
            return False
        if operator == "Exists" and key not in labels:
            return False
        if operator == "DoesNotExist" and key in labels:
            return False
    return True


def port_of(container, name):
    return next((p["containerPort"] for p in container.get("ports", []) if p["name"] == name), None)
