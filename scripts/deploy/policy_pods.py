"""What every pod keeps to, ours and those that an overlay brings along."""

from manifests import OURS, Rules, binary, containers, pod, version, where

rule = Rules()


@rule
def image_is_pinned(render):
    for o in render.workloads():
        for container in containers(o):
            if version(container["image"]) in ("", "latest"):
                yield f"{where(o, container)}: the image {container['image']} has no version, or one that moves"


@rule
def resources_are_named(render):
    for o in render.workloads():
        for container in containers(o):
            resources = container.get("resources", {})
            for kind, key in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
                if key not in resources.get(kind, {}):
                    yield f"{where(o, container)}: {kind}.{key} is missing"
            if "cpu" in resources.get("limits", {}):
                yield f"{where(o, container)}: a CPU limit throttles it while the node idles"


@rule
def container_is_locked(render):
    for o in render.workloads():
        for container in containers(o):
            context = container.get("securityContext", {})
            if context.get("allowPrivilegeEscalation") is not False:
                yield f"{where(o, container)}: allowPrivilegeEscalation is not false"
            if context.get("readOnlyRootFilesystem") is not True:
                yield f"{where(o, container)}: readOnlyRootFilesystem is not true"
            if context.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{where(o, container)}: not all capabilities are dropped, or some are added"
            if context.get("privileged"):
                yield f"{where(o, container)}: it is privileged"


@rule
def pod_is_locked(render):
    for o in render.workloads():
        context = pod(o).get("securityContext", {})
        # OpenShift chooses the user, and refuses whoever names one.
        chosen = render.overlay == "openshift"
        if context.get("runAsNonRoot") is not True or not (chosen or context.get("runAsUser")):
            yield f"{where(o)}: it may run as root"
        if binary(o) in OURS and context.get("runAsUser") != (None if chosen else 65532):
            yield f"{where(o)}: our images run as 65532, or as OpenShift chooses"
        if chosen and {"runAsGroup", "fsGroup"} & set(context):
            yield f"{where(o)}: OpenShift refuses a group that the pod names"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{where(o)}: seccompProfile is not RuntimeDefault"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod(o).get(key):
                yield f"{where(o)}: {key} is on"
        for volume in pod(o).get("volumes", []):
            if "hostPath" in volume:
                yield f"{where(o)}: the volume {volume['name']} is a folder of the node"


@rule
def account_is_its_own_and_has_no_token(render):
    users = {}
    for o in render.workloads():
        name = pod(o).get("serviceAccountName", "default")
        users.setdefault(name, []).append(where(o))
        if pod(o).get("automountServiceAccountToken") is not False:
            yield f"{where(o)}: automountServiceAccountToken is not false"
        account = render.named("ServiceAccount", name)
        if not account or account.get("automountServiceAccountToken") is not False:
            yield f"{where(o)}: ServiceAccount/{name} is not here, or has a token"
    for name, shared in users.items():
        if len(shared) > 1:
            yield f"ServiceAccount/{name} is shared by {', '.join(shared)}"


@rule
def environment_is_only_ours(render):
    for o in render.workloads():
        if pod(o).get("enableServiceLinks") is not False:
            yield f"{where(o)}: enableServiceLinks is not false, so Services become variables such as ISSUER_API_PORT"


@rule
def has_probes(render):
    for o in render.of("Deployment", "StatefulSet"):
        for container in containers(o, init=False):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe not in container:
                    yield f"{where(o, container)}: {probe} is missing"


def is_link(name, value):
    """A link for people in alarms, which carries no login."""
    names = ("DLQ_CONSUMER__ALARMS__RUNBOOK_URL", "DLQ_CONSUMER__ALARMS__DASHBOARD_URL", "DLQ_CONSUMER__CONSOLE__PUBLIC_URL")
    return name in names and "@" not in value and "token" not in value.lower()


@rule
def secrets_are_referred_to(render):
    for o in render.workloads():
        for container in containers(o):
            for variable in container.get("env", []):
                name = variable["name"]
                is_secret = any(word in name for word in ("PASSWORD", "SECRET", "TOKEN", "_URL"))
                # A file is only where a secret lies.
                is_open = name.endswith("_FILE") or "__PROPERTY_FILES__" in name or is_link(name, variable.get("value", ""))
                # Whether operators have tokens, not one of them.
                is_open = is_open or name == "DLQ_CONSUMER__CONSOLE__TOKENS"
                if is_secret and not is_open and "value" in variable:
                    yield f"{where(o, container)}: {name} is written out instead of taken from a Secret"
    for o in render.of("Secret"):
        if render.overlay != "dev":
            yield f"{where(o)}: only the overlay dev may bring secrets along"


@rule
def configuration_rolls_out(render):
    for o in render.workloads():
        named = [v["configMap"]["name"] for v in pod(o).get("volumes", []) if "configMap" in v]
        for container in containers(o):
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("configMapKeyRef")
                named += [reference["name"]] if reference else []
        for name in named:
            _, _, suffix = name.rpartition("-")
            if not render.named("ConfigMap", name):
                yield f"{where(o)}: ConfigMap/{name} is not here"
            elif len(suffix) != 10:
                yield f"{where(o)}: ConfigMap/{name} has no hash in its name, so a change starts no new pods"


@rule
def namespace_is_restricted(render):
    for o in render.of("Namespace"):
        if o["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{where(o)}: it does not enforce the restricted Pod Security Standard"
    for o in render.objects:
        if o["kind"] != "Namespace" and "namespace" not in o["metadata"]:
            yield f"{where(o)}: it is in no namespace"
