"""What the parts of the pipeline keep to among each other."""

from manifests import OURS, Rules, binary, containers, migrations, pod, pod_labels, port_of, selects, where

rule = Rules()

API = "issuer-api"
SLOW_S = 300


@rule
def all_is_there(render):
    for name in OURS:
        if not any(binary(o) == name for o in render.ours()):
            yield f"there is no Deployment of {name}"
    if not list(migrations(render)):
        yield "nothing brings the schema up to date"


@rule
def probes_ask_the_admin_port(render):
    paths = {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    for o in render.ours():
        for container in containers(o, init=False):
            for probe, path in paths.items():
                if container.get(probe, {}).get("httpGet") != {"path": path, "port": "admin"}:
                    yield f"{where(o, container)}: {probe} does not ask {path} on the admin port"
            if not port_of(container, "admin"):
                yield f"{where(o, container)}: there is no port `admin`"


@rule
def only_the_api_waits_before_it_stops(render):
    for o in render.ours():
        hook = containers(o, init=False)[0].get("lifecycle", {}).get("preStop")
        if binary(o) == API and not (hook and "sleep" in hook):
            yield f"{where(o)}: without a preStop sleep, requests still come while it stops"
        if binary(o) != API and hook:
            yield f"{where(o)}: a preStop keeps its partitions for longer than it works on them"


@rule
def disruption_is_bounded_and_possible(render):
    for o in render.of("Deployment"):
        budgets = [b for b in render.of("PodDisruptionBudget") if selects(b["spec"]["selector"], pod_labels(o))]
        if len(budgets) != 1:
            yield f"{where(o)}: {len(budgets)} PodDisruptionBudgets select it, not one"
        for budget in budgets:
            if budget["spec"].get("maxUnavailable", 0) in (0, "0%"):
                yield f"{where(budget)}: it may block the draining of a node for ever"


@rule
def replicas_are_spread(render):
    for o in render.of("Deployment"):
        constraints = pod(o).get("topologySpreadConstraints", [])
        keys = {c["topologyKey"] for c in constraints if selects(c.get("labelSelector", {}), pod_labels(o))}
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname"):
            if key not in keys:
                yield f"{where(o)}: it is not spread over {key}"


@rule
def references_meet(render):
    labels = [pod_labels(o) for o in render.workloads()]
    for o in render.of("Deployment", "StatefulSet"):
        if not selects(o["spec"]["selector"], pod_labels(o)):
            yield f"{where(o)}: its selector does not match its own pods"
    for o in render.of("Service", "NetworkPolicy", "PodMonitor", "PodDisruptionBudget"):
        spec = o["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        selector = {"matchLabels": selector} if o["kind"] == "Service" else selector
        if not any(selects(selector, each) for each in labels):
            yield f"{where(o)}: it selects no pod"
    for o in render.of("PodMonitor"):
        for workload in render.ours():
            if not selects(o["spec"]["selector"], pod_labels(workload)):
                yield f"{where(o)}: {where(workload)} is not scraped"


@rule
def network_is_closed(render):
    policies = render.of("NetworkPolicy")
    for o in render.workloads() if policies else []:
        for direction in ("Ingress", "Egress"):
            if not any(
                direction in p["spec"]["policyTypes"] and selects(p["spec"]["podSelector"], pod_labels(o)) for p in policies
            ):
                yield f"{where(o)}: no NetworkPolicy closes {direction}"


@rule
def one_autoscaler_owns_the_replicas(render):
    for o in render.ours():
        owners = render.autoscalers(o)
        if len(owners) > 1:
            yield f"{where(o)}: {', '.join(map(where, owners))} work against each other"
        if not owners and render.overlay != "dev":
            yield f"{where(o)}: nothing scales it"
        if owners and "replicas" in o["spec"]:
            yield f"{where(o)}: every apply sets the replicas back that {where(owners[0])} has chosen"
    for o in render.of("HorizontalPodAutoscaler", "ScaledObject"):
        if not render.named("Deployment", o["spec"]["scaleTargetRef"]["name"]):
            yield f"{where(o)}: what it scales is not here"


def bounds(autoscaler):
    spec = autoscaler["spec"]
    if autoscaler["kind"] == "ScaledObject":
        lowest = spec.get("idleReplicaCount", spec.get("minReplicaCount", 0))
        return lowest, spec.get("maxReplicaCount", 100)
    return spec.get("minReplicas", 1), spec["maxReplicas"]


def behavior(autoscaler):
    spec = autoscaler["spec"]
    if autoscaler["kind"] == "ScaledObject":
        spec = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
    return spec.get("behavior", {})


@rule
def scaling_is_bounded(render):
    for o in render.ours():
        for autoscaler in render.autoscalers(o):
            lowest, highest = bounds(autoscaler)
            if binary(o) != "issue-consumer" and lowest < 1:
                yield f"{where(autoscaler)}: {binary(o)} is never scaled to nothing"
            if lowest > highest:
                yield f"{where(autoscaler)}: its lower bound is above its upper one"
            down = behavior(autoscaler).get("scaleDown", {}).get("stabilizationWindowSeconds", 0)
            if down < SLOW_S:
                yield f"{where(autoscaler)}: it scales down after {down} s, not slowly"
            if autoscaler["kind"] == "ScaledObject" and autoscaler["spec"].get("fallback", {}).get("replicas", 0) < 1:
                yield f"{where(autoscaler)}: without a fallback it stands still when the brokers cannot be asked"


@rule
def the_schema_comes_with_the_version_that_needs_it(render):
    wanted = next((pod(o)["containers"][0]["image"] for o in render.ours() if binary(o) == "issue-consumer"), None)
    for o, container in migrations(render):
        if container["image"] != wanted:
            yield f"{where(o, container)}: it migrates with {container['image']}, but {wanted} writes the rows"
        if o["kind"] == "Job":
            yield f"{where(o, container)}: the next apply cannot change a Job; migrate in an init container"
        elif any(lowest < 1 for lowest, _ in map(bounds, render.autoscalers(o))):
            yield f"{where(o, container)}: with no replica of it there is no schema"
