"""custom_resources.py FILE…: holds custom resources against what their operators take. All but Strimzi's come from the
npm packages @kubernetes-models/*, for values (their validators) and for unknown fields (their types, by tsc: the
validators let those pass). Strimzi's definitions are in no registry, so kafkatopic.schema.json says what KafkaTopic takes.
MODELS names the folder with node_modules."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import yaml

HERE = Path(__file__).parent
MODELS = {
    ("keda.sh/v1alpha1", "ScaledObject"): "@kubernetes-models/keda/keda.sh/v1alpha1",
    ("keda.sh/v1alpha1", "TriggerAuthentication"): "@kubernetes-models/keda/keda.sh/v1alpha1",
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1",
    ("networking.gke.io/v1", "HealthCheckPolicy"): "@kubernetes-models/gke/networking.gke.io/v1",
    ("monitoring.coreos.com/v1", "PodMonitor"): "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
    ("monitoring.coreos.com/v1", "ServiceMonitor"): "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
}
SCHEMAS = {("kafka.strimzi.io/v1", "KafkaTopic"): "kafkatopic.schema.json"}
VALIDATOR = """
for (const [where, model, kind, object] of objects) {
  const { [kind]: Model } = await import(`${model}/${kind}`);
  try { new Model(object).validate(); }
  catch (error) { console.log(`${where}: ${error.message}`); process.exitCode = 1; }
}
"""


def custom_resources(paths):
    """Every object that Kubernetes itself does not define, with where it is."""
    for path in paths:
        for o in yaml.safe_load_all(Path(path).read_text(encoding="utf-8")):
            group = o["apiVersion"].partition("/")[0] if o else ""
            if group.startswith("gateway.") or ("." in group and ".k8s.io" not in group):
                yield f"{Path(path).name}: {o['kind']}/{o['metadata']['name']}", o


def by_schema(found):
    for where, o in found:
        schema = json.loads((HERE / SCHEMAS[o["apiVersion"], o["kind"]]).read_text(encoding="utf-8"))
        for error in jsonschema.Draft202012Validator(schema).iter_errors(o):
            yield f"{where}: {error.json_path} {error.message}"


def by_model(found):
    """Two programs are written beside node_modules, and what they print is what is wrong."""
    tools = Path(os.environ["MODELS"])
    rows = [(where, MODELS[o["apiVersion"], o["kind"]], o["kind"], o) for where, o in found]
    values = tools / "values.mjs"
    values.write_text(f"const objects = {json.dumps(rows)};\n{VALIDATOR}", encoding="utf-8")
    yield from output(["node", values], tools)
    # One line for each object, so that a complaint's line number says which one it is about.
    lines = [f'export const o{n}: import("{model}/{kind}").I{kind} = {json.dumps(o)};' for n, (_, model, kind, o) in enumerate(rows)]
    (tools / "fields.mts").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--pretty", "false"]
    for line in output([*command, "--target", "esnext", "fields.mts"], tools):
        number = line.removeprefix("fields.mts(").partition(",")[0]
        yield f"{rows[int(number) - 1][0]}: {line}" if number.isdigit() else line


def output(command, folder):
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        yield from (line for line in (answer.stdout + answer.stderr).splitlines() if line.strip())


def main(paths):
    found = list(custom_resources(paths))
    key = lambda o: (o["apiVersion"], o["kind"])
    complaints = [f"{where}: nothing here knows {'/'.join(key(o))}" for where, o in found if key(o) not in {**MODELS, **SCHEMAS}]
    complaints += by_schema([(where, o) for where, o in found if key(o) in SCHEMAS])
    complaints += by_model([(where, o) for where, o in found if key(o) in MODELS])
    for complaint in complaints:
        print(complaint)
    print(f"{len(found)} custom resources: {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
