"""What manifests repeat of the settings of the binaries. Each configuration is parsed by the binary it is for."""

import os
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

from manifests import OURS, Rules, binary, containers, holds, migrations, pod, port_of, where

rule = Rules()

ROOT = Path(__file__).resolve().parents[2]
PREFIXES = {"issuer-api": "ISSUER_API", "issue-consumer": "ISSUE_CONSUMER", "dlq-consumer": "DLQ_CONSUMER"}
PLACES = {"DATABASE_URL": "postgres://user:word@postgres/db", "REDIS_URL": "redis://redis:6379/0"}
CORE = "crates/coupon-core/src"
# How a stop adds up after the drain: (file, constant) for each step that has a bound of its own.
BEFORE_THE_END = [(f"{CORE}/repo/pool.rs", "CLOSE_TIMEOUT"), (f"{CORE}/runtime/boot.rs", "LEFTOVERS")]
LEAVING = (f"{CORE}/kafka/engine/completing.rs", "LEAVE_TIMEOUT")
FLUSHING = ("crates/issuer-api/src/serve.rs", "LEAST_FLUSH")
# Connections of a replica beside its pool, for the locks of `rebuild`, `reconcile` and `replay`.
LOCKS = {"dlq-consumer": 2}
ADMIN_S = re.compile(r"LIMITS: HttpLimits =.*?drain: Duration::from_secs\((\d+)\)", re.S)

_answers = {}


def bin_dir():
    return Path(os.environ["BIN_DIR"])


def constant_s(file, name):
    """A Duration that a source file declares, in seconds."""
    text = (ROOT / file).read_text(encoding="utf-8")
    found = re.search(rf"const {name}: Duration = Duration::from_(secs|millis)\((\d+)\)", text)
    if not found:
        raise SystemExit(f"{file} declares no duration {name} any more; scripts/deploy/policy_settings.py adds it up")
    return int(found[2]) / (1000 if found[1] == "millis" else 1)


def admin_s():
    found = ADMIN_S.search((ROOT / CORE / "runtime/admin.rs").read_text(encoding="utf-8"))
    if not found:
        raise SystemExit("the drain of the admin listener is not where scripts/deploy/policy_settings.py looks for it")
    return int(found[1])


def environment(render, workload, container=None):
    """What a container of a workload gets, its first one unless another is given, with addresses in the place of secrets."""
    variables = {}
    for variable in (container or containers(workload, init=False)[0]).get("env", []):
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            variables[variable["name"]] = "of-the-pod"
        elif "configMapKeyRef" in source:
            config_map = render.named("ConfigMap", source["configMapKeyRef"]["name"]) or {}
            variables[variable["name"]] = config_map.get("data", {}).get(source["configMapKeyRef"]["key"], "")
        elif "secretKeyRef" in source:
            variables[variable["name"]] = PLACES.get(variable["name"], "")
        else:
            variables[variable["name"]] = variable["value"]
    return variables


def config_file(render, workload):
    """The text of the file that <PREFIX>_CONFIG names, out of the ConfigMap that is mounted there; None without one."""
    variables = environment(render, workload)
    path = variables.get(f"{PREFIXES[binary(workload)]}_CONFIG")
    if not path:
        return None
    for mount in containers(workload, init=False)[0].get("volumeMounts", []):
        if Path(mount["mountPath"]) == Path(path).parent:
            volume = next(v for v in pod(workload)["volumes"] if v["name"] == mount["name"])
            config_map = render.named("ConfigMap", volume["configMap"]["name"]) or {}
            return config_map.get("data", {}).get(Path(path).name)
    return None


def effective(render, workload):
    """The settings in force as `BIN config` prints them, or the sentence it refuses them with."""
    return answer_of(binary(workload), environment(render, workload), config_file(render, workload))


def answer_of(name, variables, text=None):
    """The same of a binary with these variables and this text of its file."""
    variables = {k: v for k, v in variables.items() if not k.endswith("_CONFIG")}
    key = (name, text, tuple(sorted(variables.items())))
    if key not in _answers:
        with tempfile.TemporaryDirectory() as folder:
            variables = {k: laid_out(k, v, folder) for k, v in variables.items()}
            (Path(folder) / "config.toml").write_text(text or "", encoding="utf-8")
            command = [bin_dir() / name, "config", "--config", f"{folder}/config.toml"]
            answer = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
            said = (answer.stdout.replace(f"{folder}/etc", "/etc"), answer.stderr.strip().replace(f"{folder}/etc", "/etc"))
            _answers[key] = (answer.returncode, *said)
    code, settings, refusal = _answers[key]
    return (tomllib.loads(settings), None) if code == 0 else (None, refusal)


def laid_out(name, value, folder):
    """The value of a variable, with each file that it names in this folder, as its Secret would mount it."""
    for path in re.findall(r"/etc/coupon/[^,]+", value):
        file = Path(folder + path)
        file.parent.mkdir(parents=True, exist_ok=True)
        place = PLACES.get("_".join(name.removesuffix("_FILE").split("__")[1:]), "word")
        file.write_text(place + "\n", encoding="utf-8")
    return value.replace("/etc/coupon/", f"{folder}/etc/coupon/")


def started(render):
    """Each of our Deployments with its settings, those that are refused left out."""
    for workload in render.ours():
        settings, _ = effective(render, workload)
        if settings:
            yield workload, settings


@rule
def binary_takes_its_configuration(render):
    for o in render.ours():
        if config_file(render, o) is None:
            yield f"{where(o)}: its configuration file is in no ConfigMap"
        _, refusal = effective(render, o)
        if refusal is not None:
            yield f"{where(o)}: {binary(o)} refuses its configuration: {refusal}"
    for o, container in migrations(render):
        if holds(container["image"]) in PREFIXES:
            _, refusal = answer_of(holds(container["image"]), environment(render, o, container))
            if refusal is not None:
                yield f"{where(o, container)}: it refuses its configuration: {refusal}"


@rule
def binary_takes_its_arguments(render):
    ours = [(o, c) for o in render.workloads() for c in containers(o) if holds(c["image"]) in PREFIXES]
    for o, container in ours:
        # With the last word it only parses them.
        command = [bin_dir() / holds(container["image"]), *container.get("args", []), "--help"]
        answer = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            yield f"{where(o, container)}: it does not take its arguments: {answer.stderr.strip()}"


@rule
def ports_are_those_it_listens_on(render):
    for o, settings in started(render):
        container = containers(o, init=False)[0]
        for name in ("admin", "http", "console"):
            listen = settings.get(name, {}).get("listen")
            # The console of a pod is reached by a port-forward, unless a component opens it.
            if name == "console" and (listen or "").startswith("127.0.0.1:") and not port_of(container, name):
                continue
            if listen and int(listen.rpartition(":")[2]) != port_of(container, name):
                yield f"{where(o)}: it listens on {listen}, but the port `{name}` is {port_of(container, name)}"
            if listen and not listen.startswith("0.0.0.0:"):
                yield f"{where(o)}: nobody reaches {listen} from outside of the pod"


@rule
def a_stop_has_the_time_it_may_take(render):
    for o, settings in started(render):
        hook = containers(o, init=False)[0].get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        drain = settings["shutdown"]["drain_ms"] / 1000
        steps = [hook.get("seconds", 0), drain, admin_s(), *(constant_s(*step) for step in BEFORE_THE_END)]
        # A consumer leaves its group, and then its producer or its give-back worker gets the drain time once more.
        steps += [constant_s(*FLUSHING)] if binary(o) == "issuer-api" else [constant_s(*LEAVING), drain]
        grace = pod(o).get("terminationGracePeriodSeconds", 30)
        if grace <= sum(steps):
            yield f"{where(o)}: a stop may take {sum(steps):g} s, but is killed after {grace} s"


def files(settings, name=""):
    """Each file that a setting names, with the name of the setting."""
    for key, value in settings.items():
        inside = f"{name}.{key}" if name else key
        if isinstance(value, dict):
            yield from files(value, inside)
        elif key.endswith(("_file", "_files", "ca.location")):
            yield from ((inside, file) for file in (value if isinstance(value, list) else [value]))


@rule
def files_are_mounted(render):
    for o, settings in started(render):
        mounts = [m["mountPath"] + "/" for m in containers(o, init=False)[0].get("volumeMounts", [])]
        # `config` does not print what these name.
        hidden = [(k, v) for k, v in environment(render, o).items() if "__PROPERTY_FILES__" in k]
        for name, value in [*files(settings), *hidden]:
            if value and not any(value.startswith(mount) for mount in mounts):
                yield f"{where(o)}: {name} is {value}, where nothing is mounted"


def consumed(name, settings):
    """Topic and group that a consumer reads."""
    kafka = settings["kafka"]
    return (kafka["topic"] if name == "issue-consumer" else kafka["dlq_topic"]), kafka.get("group_id")


@rule
def lag_is_that_of_its_own_group(render):
    for o, settings in started(render):
        if binary(o) == "issuer-api":
            continue
        topic, group = consumed(binary(o), settings)
        for autoscaler in render.autoscalers(o):
            if autoscaler["kind"] == "ScaledObject":
                said = [t["metadata"] for t in autoscaler["spec"]["triggers"]]
                found = [(s["topic"], s["consumerGroup"], s["bootstrapServers"]) for s in said]
                wanted = (topic, group, settings["kafka"]["brokers"])
            else:
                said = [m["external"]["metric"]["selector"]["matchLabels"] for m in autoscaler["spec"]["metrics"]]
                found, wanted = [(s["topic"], s["consumergroup"]) for s in said], (topic, group)
            if found != [wanted]:
                yield f"{where(autoscaler)}: it follows {found}, but {where(o)} consumes {wanted}"


def decisions_topic(settings):
    """Topic of decisions, where they are published."""
    decisions = settings.get("decisions", {})
    return decisions["topic"] if decisions.get("enabled") else None


@rule
def topics_are_there_and_have_the_partitions(render):
    topics = {o["spec"].get("topicName", o["metadata"]["name"]): o["spec"] for o in render.of("KafkaTopic")}
    for o, settings in started(render) if topics else []:
        kafka = settings["kafka"]
        wanted = {kafka.get("topic"), kafka.get("dlq_topic"), decisions_topic(settings)}
        for name in wanted - {None} - set(topics):
            yield f"{where(o)}: no KafkaTopic is called {name}"
        if binary(o) == "issuer-api":
            continue
        topic, _ = consumed(binary(o), settings)
        for autoscaler in render.autoscalers(o):
            highest = autoscaler["spec"].get("maxReplicaCount", autoscaler["spec"].get("maxReplicas"))
            partitions = topics.get(topic, {}).get("partitions", 0)
            if highest != partitions:
                yield f"{where(autoscaler)}: up to {highest} replicas, but {topic} has {partitions} partitions"


@rule
def the_budget_is_what_all_replicas_may_open(render):
    found, wanted = list(started(render)), 0
    for o, settings in found:
        bounds = [a["spec"].get("maxReplicaCount", a["spec"].get("maxReplicas")) for a in render.autoscalers(o)]
        each = settings["database"]["max_connections"] + LOCKS.get(binary(o), 0)
        # The console has a pool of its own.
        each += settings["console"]["max_connections"] if settings.get("console", {}).get("listen") else 0
        wanted += max(bounds, default=o["spec"].get("replicas", 1)) * each
    for o, settings in found:
        budget = settings["database"]["budget"]
        # The overlay dev brings a server of its own along.
        if budget != wanted and (budget or render.overlay != "dev"):
            yield f"{where(o)}: database.budget is {budget}, and all replicas may open {wanted} connections"


def installation(render):
    """What an installation must not share with another one: (what, value), as its binaries and its monitor have them."""
    for o, settings in started(render):
        kafka = settings["kafka"]
        yield from (("the topic", kafka[key]) for key in ("topic", "dlq_topic") if key in kafka)
        yield from (("the topic", topic) for topic in [decisions_topic(settings)] if topic)
        yield from (("the group", kafka[key]) for key in ("group_id", "issue_group_id") if key in kafka)
        yield from (("the name in alarms", settings["alarms"]["installation"]) for _ in [0] if "alarms" in settings)
    yield from (("the label installation", label) for label in labels(render))
    yield from (("the KafkaTopic", o["metadata"]["name"]) for o in render.of("KafkaTopic"))
    yield from (("the namespace", o["metadata"]["namespace"]) for o in render.ours() if "namespace" in o["metadata"])


def labels(render):
    """The names of installations that the monitors set."""
    for o in render.of("PodMonitor"):
        for endpoint in o["spec"]["podMetricsEndpoints"]:
            rules = [r for r in endpoint.get("relabelings", []) if r.get("targetLabel") == "installation"]
            yield rules[0].get("replacement", "") if rules else ""


@rule
def installations_have_names_and_share_nothing(render):
    names = {value for what, value in installation(render) if what == "the name in alarms"}
    for label in labels(render):
        if not label or not {label} >= names:
            yield f"its metrics have the installation {label!r}, and its alarms {sorted(names)}"
    shared = set(installation(render)) & set(installation(render.beside)) if render.beside else set()
    for what, value in sorted(shared):
        yield f"it shares {what} {value!r} with {render.beside.overlay}"


@rule
def services_of_one_installation_agree(render):
    found = {binary(o): settings["kafka"] for o, settings in started(render)}
    if set(found) != set(OURS):
        return
    api, issue, dlq = (found[name] for name in OURS)
    topics, dead = {k["topic"] for k in (api, issue, dlq)}, {k["dlq_topic"] for k in (issue, dlq)}
    if len(topics) + len(dead) > 2 or issue["group_id"] != dlq["issue_group_id"]:
        yield f"topics {sorted(topics)}, dead letters {sorted(dead)}, groups {issue['group_id']} and {dlq['issue_group_id']}: they differ"


@rule
def links_lead_to_the_runbook_of_the_installation(render):
    address = next((s["alarms"]["runbook_url"] for o, s in started(render) if binary(o) == "dlq-consumer"), "")
    for o in render.of("PrometheusRule"):
        for alert in (r for group in o["spec"]["groups"] for r in group["rules"] if "alert" in r):
            if alert["annotations"].get("runbook_url", "").partition("#")[0] != address:
                yield f"{where(o)}: {alert['alert']} leads to another runbook than the alarms, {address}"
