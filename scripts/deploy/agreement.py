"""Holds the Dockerfile, docker-compose.yml, the manifests and systemd's unit against the sources and the program.

Every file they name is there, every command line and setting is one that the program takes, ports and names agree with each other.
Arguments: the program, and the folder with what Compose and kustomize made of the files.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import yaml

PROGRAM = Path(sys.argv[1]).absolute()
WORK = Path(sys.argv[2])
ROOT = Path(__file__).parents[2]
# What the image is called before a registry has it.
IMAGE = "bankrefresh"

problems = []
checked = 0


def check(holds, problem):
    global checked
    checked += 1
    if not holds:
        problems.append(problem)


def run(arguments, environment):
    return subprocess.run([PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=30)


def of_manifest(key):
    return re.search(rf'^{key} = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M).group(1)


def takes_settings(place, environment):
    """The program starts with these settings; what it has in force, as text."""
    answer = run(["config", "check"], environment)
    check(answer.returncode == 0, f"{place}: config check says {answer.stderr.strip()}")
    return answer.stdout


def takes_arguments(place, arguments):
    """Arguments are looked at in turn, so that --help at their end shows only where all of them are right."""
    answer = run([*arguments, "--help"], {})
    check(answer.returncode == 0, f"{place}: {shlex.join(arguments)}: {answer.stderr.strip()}")


def dockerfile():
    """The image's environment and its default command."""
    environment, command, copied = {}, [], []
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").split("\n"):
        word, _, rest = line.partition(" ")
        match word:
            case "COPY" if not rest.startswith("--from"):
                for path in rest.split()[:-1]:
                    copied.append(path)
                    check((ROOT / path).exists(), f"Dockerfile: there is no {path}")
                    check(f"!{path}" in ignored, f".dockerignore: keeps {path} out, which the Dockerfile needs")
            case "ENV":
                name, _, value = rest.partition("=")
                environment[name] = value
            case "CMD":
                command = json.loads(rest)
            case "HEALTHCHECK":
                takes_arguments("Dockerfile: HEALTHCHECK", json.loads(rest[rest.index("[") :])[1:])
    with tempfile.TemporaryDirectory() as context:
        for path in copied:
            copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
            copy(ROOT / path, Path(context) / path)
        cargo = ["cargo", "metadata", "--no-deps", "--locked", "--offline", "--format-version=1"]
        answer = subprocess.run(cargo, cwd=context, capture_output=True, text=True, timeout=60)
        check(answer.returncode == 0, f"Dockerfile: cargo can't read what is copied: {answer.stderr.strip()}")
    takes_arguments("Dockerfile: CMD", command)
    takes_settings("Dockerfile", environment)
    text = (ROOT / "Dockerfile").read_text()
    rust = re.search(r"^ARG RUST_IMAGE=rust:([0-9.]+)-", text, re.M).group(1)
    version = lambda text: [int(part) for part in text.split(".")]
    least = of_manifest("rust-version")
    check(version(rust) >= version(least), f"Dockerfile: Rust {rust} is older than Cargo.toml's {least}")
    for label, key in [("version", "version"), ("licenses", "license")]:
        given = re.search(rf'org\.opencontainers\.image\.{label}="(.*)"', text).group(1)
        check(given == of_manifest(key), f"Dockerfile: the label {label} is {given}, not {of_manifest(key)}")
    return environment, command


def compose(image):
    services = json.loads((WORK / "compose.json").read_text())["services"]
    environment, command = image
    check(services["worker"]["deploy"]["replicas"] > 1, "compose: one worker does not show that several work side by side")
    for name, service in services.items():
        for volume in service.get("volumes", []):
            check(Path(volume["source"]).exists(), f"compose: {name}: there is no {volume['source']}")
        for published in service.get("ports", []):
            check(published.get("host_ip") == "127.0.0.1", f"compose: {name}: port {published['target']} is open to others")
        if service["image"].partition(":")[0] != IMAGE:
            continue
        arguments = service.get("command") or command
        takes_arguments(f"compose: {name}", arguments)
        takes_settings(f"compose: {name}", {**environment, **(service.get("environment") or {})})
        if arguments[0] == "sandbox":
            script = next(Path(volume["source"]) for volume in service["volumes"])
            takes_script(f"compose: {name}", script)
        for value in (service.get("environment") or {}).values():
            for host in re.findall(r"://(?:[^@/]*@)?([a-z0-9-]+):", value):
                check(host in services, f"compose: {name}: {value} names no service")
    scraped = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    port = environment["BANKREFRESH__ADMIN__LISTEN"].rpartition(":")[2]
    for host in re.findall(r'"([a-z0-9-]+):\d+"', scraped):
        check(host in services, f"prometheus.yml: {host} is no service")
    for job in yaml.safe_load(scraped)["scrape_configs"]:
        for found in job.get("dns_sd_configs", []):
            check(set(found["names"]) <= services.keys(), f"prometheus.yml: not all of {found['names']} are services")
            check(str(found["port"]) == port, f"prometheus.yml: workers listen on {port}, not {found['port']}")
    for file in (ROOT / "deploy/grafana/provisioning").rglob("*.yml"):
        for host in re.findall(r"url: http://([a-z0-9-]+):", file.read_text()):
            check(host in services, f"{file.relative_to(ROOT)}: {host} is no service")
    collector = yaml.safe_load((ROOT / "deploy/compose/collector.yml").read_text())
    for pipeline in collector["service"]["pipelines"].values():
        for part, names in pipeline.items():
            check(set(names) <= set(collector[part]), f"collector.yml: not all of {names} are {part}")
    check(collector["exporters"]["otlp"]["endpoint"].partition(":")[0] in services, "collector.yml: no such service")


def takes_script(place, script):
    """The sandbox starts with it."""
    arguments = [PROGRAM, "sandbox", "--listen", "127.0.0.1:0", "--script", script]
    sandbox = subprocess.Popen(arguments, env={}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = sandbox.stdout.readline()
    sandbox.terminate()
    _, error = sandbox.communicate()
    check(said, f"{place}: {script.name}: {error.strip()}")


def kubernetes():
    for folder in ["base", "example", "without-keda", "by-digest", "clients-live", "clients-sandbox"]:
        objects = [o for o in yaml.safe_load_all((WORK / f"k8s-{folder}.yaml").read_text()) if o]
        of_kind = lambda kind: [o for o in objects if o["kind"] == kind]
        [deployment] = of_kind("Deployment")
        pod = deployment["spec"]["template"]
        labels = pod["metadata"]["labels"].items()
        for kind, at in [("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")]:
            for found in of_kind(kind):
                check(found["spec"][at]["matchLabels"].items() <= labels, f"{folder}: {kind} chooses no worker")
        [container] = pod["spec"]["containers"]
        takes_arguments(f"{folder}: the container", container["args"])
        if folder == "base":
            continue
        in_force = worker_reads(container, pod["spec"], of_kind)
        broker = of_kind("Secret")[0]["stringData"]["amqp-url"]
        reaches(folder, f'{in_force}\nurl = "{broker}"', of_kind("NetworkPolicy")[0]["spec"], container)
        pinned = r"@sha256:[0-9a-f]{64}$" if folder == "by-digest" else rf":{re.escape(of_manifest('version'))}$"
        check(re.search(pinned, container["image"]), f"{folder}: the image {container['image']} is not pinned")
        if folder in ["without-keda", "clients-live", "clients-sandbox"]:
            check(deployment["spec"].get("replicas", 0) > 1, "without KEDA nobody says how many workers there are")
            check(not of_kind("ScaledObject"), "without KEDA there is a ScaledObject")
        else:
            scaled(deployment, container, of_kind)


# DNS, RabbitMQ with TLS and without, HTTPS, and OTLP over gRPC and HTTP: no other port may be open.
PORTS = {53, 5671, 5672, 443, 4317, 4318}


def reaches(folder, in_force, policy, container):
    """Each address in the settings is one that the network policy lets a worker reach, and nothing else is open."""
    open_ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    check(open_ports == PORTS, f"{folder}: the network policy opens {sorted(open_ports)}, not {sorted(PORTS)}")
    defaults = {"https": 443, "http": 80, "amqps": 5671, "amqp": 5672}
    urls = re.findall(r'^\w*(?:url|endpoint) = "(\w+)://(?:[^@/"]*@)?([^/":]+)(?::(\d+))?', in_force, re.M)
    check(len(urls) == 5, f"{folder}: the settings' addresses are {urls}")
    for scheme, host, port in urls:
        port = int(port or defaults[scheme])
        check(port in open_ports, f"{folder}: the network policy lets no worker reach {host}:{port}")
    served = {port["name"] for port in container["ports"]}
    named = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    check(named == served, f"{folder}: the network policy lets in to {named}, and the worker listens on {served}")


def worker_reads(container, pod, of_kind):
    """Mounts what the manifests mount, as files, and has the program read it all."""
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    sources = {source["metadata"]["name"]: source for source in of_kind("ConfigMap") + of_kind("Secret")}
    with tempfile.TemporaryDirectory() as folder:
        for volume in pod["volumes"]:
            name = volume["configMap"]["name"] if "configMap" in volume else volume["secret"]["secretName"]
            check(name in sources, f"example: there is no {name}")
            source = sources.get(name, {})
            at = Path(folder + mounts[volume["name"]])
            at.mkdir(parents=True)
            for file, text in (source.get("data") or source.get("stringData")).items():
                (at / file).write_text(text)
        paths = tuple(mounts.values())
        environment = {
            name: folder + value if value.startswith(paths) else value for name, value in variables.items()
        }
        in_force = takes_settings("example", environment)
    secrets = ["client_id", "client_secret", "url"]
    check(all(f"\n{key} = " in in_force for key in secrets), f"example: not all of {secrets} are set:\n{in_force}")
    port = variables["BANKREFRESH__ADMIN__LISTEN"].rpartition(":")[2]
    [listens] = [port for port in container["ports"] if port["name"] == "admin"]
    check(str(listens["containerPort"]) == port, "example: the port admin is not where admin.listen is")
    routes = re.findall(r'\.route\("(/\w+)"', (ROOT / "src/admin.rs").read_text())
    for probe in ["livenessProbe", "readinessProbe"]:
        check(container[probe]["httpGet"]["path"] in routes, f"example: {probe} asks for what is not served")
    drain = re.search(r'^drain_timeout = "(\d+)s"$', in_force, re.M)
    check(drain and pod["terminationGracePeriodSeconds"] >= int(drain.group(1)) + 10, "example: the grace is too short")
    return in_force


def unit():
    """The worker of the Debian package takes its settings and secrets, and has the time that it needs to stop."""
    debian = ROOT / "deploy/debian"
    lines = [line.partition("=") for line in (debian / "bankrefresh-worker.service").read_text().splitlines()]
    of_key = lambda key: [value for name, _, value in lines if name == key]
    environment = dict(value.split("=", 1) for value in of_key("Environment"))
    [started] = of_key("ExecStart")
    takes_arguments("the unit", started.split()[1:])
    with tempfile.TemporaryDirectory() as folder:
        for credential in of_key("LoadCredential"):
            name, _, source = credential.partition(":")
            check(source == f"/etc/bankrefresh/secrets/{name}", f"the unit: {name} is at {source}")
            (Path(folder) / name).write_text("amqp://guest@127.0.0.1" if name == "amqp-url" else name)
        given = {name: value.replace("%d", folder) for name, value in environment.items()}
        check(given["BANKREFRESH_CONFIG"] == "/etc/bankrefresh/bankrefresh.toml", "the unit: other settings than packed")
        given["BANKREFRESH_CONFIG"] = str(debian / "bankrefresh.toml")
        in_force = takes_settings("the unit", given)
    drain = re.search(r'^drain_timeout = "(\d+)s"$', in_force, re.M)
    check(drain and int(of_key("TimeoutStopSec")[0]) >= int(drain.group(1)) + 10, "the unit: the time to stop is too short")


# What KEDA's kinds may hold, as far as they are used here; unknown keys are errors, as they would be for the API server.
def only(properties, required=None):
    required = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


TEXT, COUNT, METADATA = {"type": "string"}, {"type": "integer", "minimum": 1}, {"type": "object"}
TRIGGER = only(
    {
        "type": {"const": "rabbitmq"},
        "metadata": only(
            {
                # Over HTTP, what workers hold would count too.
                "protocol": {"const": "amqp"},
                "mode": {"const": "QueueLength"},
                "queueName": TEXT,
                "value": {"type": "string", "pattern": "^[1-9][0-9]*$"},
            }
        ),
        "authenticationRef": only({"name": TEXT}),
    }
)
POLICY = only({"type": {"enum": ["Pods", "Percent"]}, "value": COUNT, "periodSeconds": COUNT})
SCALE_DOWN = only({"stabilizationWindowSeconds": COUNT, "policies": {"type": "array", "items": POLICY}})
KEDA = {
    "ScaledObject": only(
        {
            "scaleTargetRef": only({"name": TEXT}),
            "pollingInterval": COUNT,
            "minReplicaCount": COUNT,
            "maxReplicaCount": COUNT,
            "advanced": only({"horizontalPodAutoscalerConfig": only({"behavior": only({"scaleDown": SCALE_DOWN})})}),
            "triggers": {"type": "array", "minItems": 1, "items": TRIGGER},
        }
    ),
    "TriggerAuthentication": only(
        {"secretTargetRef": {"type": "array", "items": only({"parameter": {"const": "host"}, "name": TEXT, "key": TEXT})}}
    ),
}


def scaled(deployment, container, of_kind):
    for kind, spec in KEDA.items():
        schema = only({"apiVersion": {"const": "keda.sh/v1alpha1"}, "kind": {"const": kind}, "metadata": METADATA, "spec": spec})
        for error in jsonschema.Draft202012Validator(schema).iter_errors(of_kind(kind)[0]):
            problems.append(f"{kind}: {error.json_path}: {error.message}")
    [scaled], [authentication] = of_kind("ScaledObject"), of_kind("TriggerAuthentication")
    check(scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"], "ScaledObject: no such Deployment")
    check("replicas" not in deployment["spec"], "example: the Deployment and KEDA both say how many workers there are")
    queues = [trigger["metadata"]["queueName"] for trigger in scaled["spec"]["triggers"]]
    prefix = re.search(r'^prefix = "(.*)"$', run(["config", "check"], {}).stdout, re.M).group(1)
    wanted = [f"{prefix}.commands.interactive", f"{prefix}.commands.background", f"{prefix}.steps"]
    check(sorted(queues) == sorted(wanted), f"ScaledObject: scales on {queues}, not on {wanted}")
    for trigger in scaled["spec"]["triggers"]:
        name = trigger["authenticationRef"]["name"]
        check(name == authentication["metadata"]["name"], f"ScaledObject: there is no TriggerAuthentication {name}")
    keys = {secret["metadata"]["name"]: secret["stringData"] for secret in of_kind("Secret")}
    for reference in authentication["spec"]["secretTargetRef"]:
        check(reference["key"] in keys.get(reference["name"], {}), f"TriggerAuthentication: there is no {reference}")


compose(dockerfile())
kubernetes()
unit()
for problem in problems:
    print(problem, file=sys.stderr)
print(f"{checked} things checked, {len(problems)} wrong")
sys.exit(bool(problems))
