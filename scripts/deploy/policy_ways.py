"""The ways in and out: members to the API, pods to names and servers, KEDA to Kafka."""

from manifests import Rules, containers, pod_labels, selects, where

rule = Rules()

# Who answers for names, by the label or the block that a policy names, and at which port.
NAMES = {
    "kube-system": ("kube-system", 53),
    "NodeLocal DNSCache": ("169.254.20.10/32", 53),
    "OpenShift": ("openshift-dns", 5353),
}


def egress(render, workload):
    """Each (destinations, port) that the policies let a workload reach; without policies nothing is said."""
    for policy in render.of("NetworkPolicy"):
        if selects(policy["spec"]["podSelector"], pod_labels(workload)):
            for way in policy["spec"].get("egress", []):
                yield from ((way.get("to"), port) for port in way.get("ports", []))


def is_open(ways, number):
    return any(port["port"] <= number <= port.get("endPort", port["port"]) for _, port in ways if isinstance(port["port"], int))


def peers(destinations):
    for peer in destinations or []:
        yield peer.get("ipBlock", {}).get("cidr")
        yield peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")


@rule
def names_can_be_asked_for(render):
    for o in render.ours() if render.of("NetworkPolicy") else []:
        for who, (peer, number) in NAMES.items():
            if not is_open([(to, port) for to, port in egress(render, o) if peer in peers(to)], number):
                yield f"{where(o)}: no NetworkPolicy lets it ask {who} for names"


@rule
def brokers_can_be_reached(render):
    servers = next((o["data"]["KAFKA_BROKERS"] for o in render.of("ConfigMap") if "KAFKA_BROKERS" in o.get("data", {})), "")
    for o in render.ours() if render.of("NetworkPolicy") else []:
        for number in {int(broker.rpartition(":")[2]) for broker in servers.split(",")}:
            if not is_open([(to, port) for to, port in egress(render, o) if not to], number):
                yield f"{where(o)}: no NetworkPolicy lets it reach {servers}"


@rule
def members_reach_the_api(render):
    served = {(o["metadata"]["name"], p) for o in render.of("Service") for q in o["spec"]["ports"] for p in (q.get("name"), q["port"])}
    asked = [
        (o, path["backend"]["service"]["name"], *path["backend"]["service"]["port"].values())
        for o in render.of("Ingress")
        for host in o["spec"]["rules"]
        for path in host["http"]["paths"]
    ]
    asked += [(o, b["name"], b["port"]) for o in render.of("HTTPRoute") for r in o["spec"]["rules"] for b in r["backendRefs"]]
    for o, name, port in asked:
        if (name, port) not in served:
            yield f"{where(o)}: there is no Service {name} with the port {port}"
    for o in render.of("HealthCheckPolicy"):
        check = o["spec"]["default"]["config"]["httpHealthCheck"]["requestPath"]
        if check != "/healthz":
            yield f"{where(o)}: it asks for {check}, not /healthz"
    for o in render.of("Ingress"):
        if o["metadata"].get("annotations", {}).get("alb.ingress.kubernetes.io/healthcheck-path", "/healthz") != "/healthz":
            yield f"{where(o)}: its load balancer does not ask for /healthz"


@rule
def the_console_is_reached_from_named_namespaces(render):
    for o in render.of("NetworkPolicy"):
        for way in o["spec"].get("ingress", []):
            if any(port["port"] == "console" for port in way.get("ports", [])) and not list(peers(way.get("from"))):
                yield f"{where(o)}: every pod of the cluster reaches the console"


@rule
def keda_logs_in_as_the_consumers_do(render):
    logins = {v["value"] for o in render.ours() for c in containers(o) for v in c.get("env", []) if v["name"].endswith("SASL__MECHANISM")}
    wanted = {{"PLAIN": "plaintext"}.get(login, login.lower().replace("-", "_").replace("scram_sha_", "scram_sha")) for login in logins}
    for o in render.of("ScaledObject"):
        for trigger in o["spec"]["triggers"]:
            if {trigger["metadata"].get("sasl")} - {None} != wanted:
                yield f"{where(o)}: it logs in by {trigger['metadata'].get('sasl')}, the consumers by {sorted(logins)}"
            name = trigger.get("authenticationRef", {}).get("name")
            if wanted and not render.named("TriggerAuthentication", name):
                yield f"{where(o)}: there is no TriggerAuthentication {name}"
