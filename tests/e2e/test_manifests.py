"""k8s/ without a cluster: every overlay builds, fits the schema, and gives each pod what the roles table says and no more."""

import base64
import copy
import functools
import ipaddress
import os
import re
import shutil
import subprocess

import pytest
import yaml

import manifests
from kube_schema import Schema
from manifests import OVERLAYS, ROOT, Workload, bundle, changed, matches
from weir import ASAN, BIN

pytestmark = pytest.mark.skipif(ASAN, reason="the manifests are the same, and the suite without sanitizers reads them")
VERSION = (ROOT / "VERSION").read_text().strip()
OUTSIDE = ("weir-database", "weir-sources", "weir-exchange")  # flows whose addresses are the user's to name
PASSPHRASE = "correct horse battery staple"
SCALED = ("weir-apply", "weir-ingest", "weir-lanes", "weir-science", "weir-status")
WORKLOADS = {"single": ("weir-apply", "weir"), "batch": ("weir-apply", "weir-run"), "scaled": SCALED, "test": SCALED}
ALL = [(o, name) for o in OVERLAYS for name in WORKLOADS[o]]
KINDS = ("ConfigMap", "CronJob", "Deployment", "HorizontalPodAutoscaler", "Job", "NetworkPolicy", "PodDisruptionBudget",
         "Service", "ServiceAccount", "StatefulSet")


@pytest.fixture(scope="module")
def schema():
    return Schema(manifests.tools() / "swagger.json")


def weir(*args, env, **more):
    return subprocess.run([BIN / "weir", *args], env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, **more)


def effective(overlay, tmp_path_factory):
    """The overlay's pipeline, as the real `weir validate` sees it in a pod's environment; parsed."""
    path = tmp_path_factory.mktemp(overlay) / "pipeline.yaml"
    path.write_text(bundle(overlay).pipeline)
    done = weir("validate", "--effective", path, env=bundle(overlay).environment)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {o: effective(o, tmp_path_factory) for o in OVERLAYS}


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)(s|m|h)", duration).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """(directory, what k8s/secrets.sh printed of it): keys as `weir keys init` makes them of the pipeline itself."""
    home = tmp_path_factory.mktemp("weir")
    for name in ("owner", "sources", "exchange"):
        (home / name).mkdir()
    (home / "passphrase").write_text(PASSPHRASE)
    (home / "passphrase").chmod(0o600)
    env = {**bundle("scaled").environment, "WEIR_KEYS": str(home / "keys"), "WEIR_LOGINS": str(home / "logins"),
           "WEIR_RID_KEY": f"file:{home}/keys/rid.key", "WEIR_DSN": f"file:{home}/owner/dsn"}
    pipeline = manifests.K8S / "overlays/scaled/pipeline.yaml"
    (home / "owner" / "dsn").write_text("postgresql://owner:secret@db.example/dw\n")
    (home / "owner" / "dsn").chmod(0o600)
    for args in (["keys", "init", pipeline, "--member", "ana", "--kdf-memory", "8", "--passphrase-file", home / "passphrase"],
                 ["keys", "policy", "sign", pipeline, "--yes", "--passphrase-file", home / "passphrase"],
                 ["logins", "init", pipeline]):
        done = weir(*args, env=env)
        assert done.returncode == 0, done.stderr
    assert {f.name for f in (home / "logins").iterdir()} == {f"{login}.login" for login in manifests.logins()}
    (home / "sources" / "amqp").write_text("amqp://weir:secret@rabbit.example/loans")
    (home / "exchange" / "password").write_text("exchange's")
    done = subprocess.run([manifests.K8S / "secrets.sh", home], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return home, list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def contents(laptop):
    """{Secret or ConfigMap: {file: bytes}}"""
    return {d["metadata"]["name"]: {k: base64.b64decode(v) for k, v in (d.get("data") or d["binaryData"]).items()}
            for d in laptop[1] if d}


# ---- the schema ----
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_fits_the_schema(overlay, schema):
    for document in bundle(overlay).documents:
        assert schema.errors(document) == []


def test_secrets_fit_the_schema(laptop, schema):
    for document in filter(None, laptop[1]):
        assert schema.errors(document) == []


def fields(value, path=()):
    """Every (path, value) below a map or list."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield path + (key,), item
        if isinstance(item, (dict, list)):
            yield from fields(item, path + (key,))


def parent(document, path):
    for key in path[:-1]:
        document = document[key]
    return document


# Maps of names of the user's choice: a misspelt one is still a name. The schema says so of each of them.
CHOSEN = ("labels", "annotations", "matchLabels", "data", "selector", "requests", "limits")


def each_kind():
    seen = {}
    for overlay in OVERLAYS:
        for d in bundle(overlay).documents:
            seen.setdefault(d["kind"], []).append(d)
    return seen


def test_nothing_is_left_out():
    assert {o: set(names) for o, names in WORKLOADS.items()} == {o: {w.name for w in bundle(o).workloads} for o in OVERLAYS}
    assert set(each_kind()) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_typo_anywhere_is_caught(kind, schema):
    tried = 0
    for document in each_kind()[kind]:
        for path, value in list(fields(document)):
            chosen = len(path) > 1 and path[-2] in CHOSEN and not (path[-2] == "selector" and kind != "Service")
            if not isinstance(path[-1], str) or (chosen and path[-1] not in ("matchLabels", "matchExpressions")):
                continue
            other = copy.deepcopy(document)
            place = parent(other, path)
            place[path[-1] + "s"] = place.pop(path[-1])
            assert schema.errors(other), f"{kind}: {path} misspelt"
            tried += 1
    assert tried >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_type_anywhere_is_caught(kind, schema):
    for document in each_kind()[kind]:
        for path, value in list(fields(document)):
            for wrong in ([{"x": 1}], {"x": []}):
                if type(value) is not type(wrong):
                    other = copy.deepcopy(document)
                    parent(other, path)[path[-1]] = wrong
                    assert schema.errors(other), f"{kind}: {path}: {wrong}"


@pytest.mark.parametrize("kind, path, wrong", [
    ("CronJob", "spec.concurrencyPolicy", "Never"), ("CronJob", "spec.schedule", None), ("CronJob", "spec.suspend", "yes"),
    ("StatefulSet", "spec.podManagementPolicy", "parallel"), ("StatefulSet", "spec.serviceName", 5),
    ("StatefulSet", "spec.replicas", "2"), ("StatefulSet", "spec.selector", None), ("StatefulSet", "metadata.name", None),
    ("Deployment", "spec.template.spec.containers.0.resources.limits.memory", "128Mb"),
    ("Deployment", "spec.template.spec.containers.0.livenessProbe.httpGet.port", None),
    ("Deployment", "spec.template.spec.containers.0.securityContext.capabilities.drop.0", "All"),
    ("Job", "spec.podFailurePolicy.rules.0.action", "Fail"), ("Job", "spec.template.spec.restartPolicy", "never"),
    ("Job", "spec.podFailurePolicy.rules.1.onExitCodes.values.0", "64"), ("Job", "spec.template", None),
    ("HorizontalPodAutoscaler", "spec.maxReplicas", None), ("HorizontalPodAutoscaler", "apiVersion", "autoscaling/v2beta2"),
    ("HorizontalPodAutoscaler", "spec.behavior.scaleDown.policies.0.type", "Pod"),
    ("NetworkPolicy", "spec.policyTypes.0", "egress"), ("NetworkPolicy", "spec.egress.0.ports.0.port", True),
    ("PodDisruptionBudget", "spec.unhealthyPodEvictionPolicy", "Always"), ("ConfigMap", "data.WEIR_KEYS", 5),
    ("ServiceAccount", "automountServiceAccountToken", "false"), ("Service", "spec.ports.0.protocol", "tcp"),
    ("Service", "spec.ports.0.port", None), ("Service", "kind", "Services"),
])
def test_a_wrong_value_is_caught(kind, path, wrong, schema):
    steps = [int(s) if s.isdigit() else s for s in path.split(".")]
    for document in map(copy.deepcopy, each_kind()[kind]):
        try:
            place = parent(document, steps)
            place[steps[-1]]
        except (KeyError, IndexError):
            if steps[-1] not in ("suspend", "protocol"):
                continue
        if wrong is None:
            del place[steps[-1]]
        else:
            place[steps[-1]] = wrong
        assert schema.errors(document), f"{path}: {wrong}"
        return
    pytest.fail(f"no {kind} has {path}")


# ---- kustomize ----
def test_nothing_deprecated():
    files = list(manifests.K8S.rglob("kustomization.yaml"))
    assert len(files) >= len(OVERLAYS) + 2
    for file in files:
        old = {"commonLabels", "bases", "patchesStrategicMerge", "patchesJson6902", "vars", "imageTags"}
        assert not old & set(yaml.safe_load(file.read_text())), file


def test_no_secret_is_committed():
    for overlay in OVERLAYS:
        assert not bundle(overlay).of("Secret")
    for file in subprocess.run(["git", "ls-files", "k8s"], cwd=ROOT, capture_output=True, text=True).stdout.split():
        assert "secretGenerator" not in (ROOT / file).read_text()
        assert not re.search(r"\.(key|login|sealed)$", file)


def test_a_changed_pipeline_rolls_every_workload(tmp_path):
    copied = tmp_path / "k8s"
    subprocess.run(["cp", "-r", manifests.K8S, copied], check=True)
    for overlay, file in (("scaled", "overlays/scaled/pipeline.yaml"), ("single", "base/pipeline.yaml"), ("batch", "base/pipeline.yaml")):
        with open(copied / file, "a") as f:
            f.write("# changed\n")
        done = subprocess.run([manifests.tools() / "kubectl", "kustomize", copied / "overlays" / overlay], check=True,
                              capture_output=True, text=True)
        other = manifests.Bundle(overlay, list(yaml.safe_load_all(done.stdout)))
        for workload in other.workloads:
            before = next(w for w in bundle(overlay).workloads if w.name == workload.name)
            assert workload.template != before.template, f"{overlay}: {workload.name} stays as it is"


# ---- what a pod may be ----
@pytest.mark.parametrize("overlay, name", ALL)
def test_restricted_and_more(overlay, name):
    workload = next(w for w in bundle(overlay).workloads if w.name == name)
    assert manifests.restricted(workload.pod) == []
    assert manifests.hardened(workload) == []


def _set(*path, value=None):
    def change(pod):
        place = pod
        for key in path[:-1]:
            place = place[key]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
    return change


C = ("containers", 0, "securityContext")


@pytest.mark.parametrize("change", [
    _set(*C, "allowPrivilegeEscalation"), _set(*C, "allowPrivilegeEscalation", value=True), _set(*C, "privileged", value=True),
    _set(*C, "capabilities"), _set(*C, "capabilities", "add", value=["SYS_ADMIN"]), _set(*C, "runAsNonRoot", value=False),
    _set(*C, "runAsUser", value=0), _set(*C, "seccompProfile", value={"type": "Unconfined"}), _set(*C, "procMount", value="Unmasked"),
    _set("securityContext", "seccompProfile"), _set("securityContext", "runAsNonRoot"), _set("hostNetwork", value=True),
    _set("hostPID", value=True), _set("volumes", 0, value={"name": "pipeline", "hostPath": {"path": "/"}}),
    _set("containers", 0, "ports", value=[{"containerPort": 1, "hostPort": 1}]),
    _set("initContainers", value=[{"name": "other"}]), _set("securityContext", "sysctls", value=[{"name": "a", "value": "b"}]),
], ids=str)
def test_what_is_not_restricted_is_seen(change):
    workload = Workload(bundle("scaled").one("StatefulSet", "weir-ingest"))
    assert manifests.restricted(changed(workload, change).pod) != []


@pytest.mark.parametrize("change", [
    _set(*C, "readOnlyRootFilesystem"), _set("automountServiceAccountToken"), _set("serviceAccountName"),
    _set("securityContext", "runAsUser", value=1000), _set("securityContext", "fsGroup"),
    lambda pod: pod["containers"][0]["volumeMounts"].append({"name": "run", "mountPath": "/tmp"}),
    lambda pod: [m.pop("readOnly", None) for m in pod["containers"][0]["volumeMounts"]],
    lambda pod: [v["secret"].update(defaultMode=0o444) for v in pod["volumes"] if "secret" in v],
    lambda pod: [v["projected"].pop("defaultMode") for v in pod["volumes"] if "projected" in v],
], ids=["root", "token", "account", "uid", "group", "tmp", "writable", "mode", "projected"])
def test_what_is_not_hardened_is_seen(change):
    workload = Workload(bundle("scaled").one("StatefulSet", "weir-ingest"))
    assert manifests.hardened(changed(workload, change)) != []


# ---- secrets and flows, by the roles table ----
def secret_files(workload, contents):
    return {p.removeprefix("/etc/weir/") for p, of in workload.files(contents).items() if of != "weir-policy"}


def layout(contents):
    """Every secret file that there is, where a pod would have it."""
    folders = {"weir-owner": "owner", "weir-sources": "sources", "weir-exchange": "exchange"}
    return {f"{folders.get(name) or name.split('-')[1]}/{file}" for name, files in contents.items() for file in files
            if name != "weir-policy"}


@pytest.mark.parametrize("overlay, name", ALL)
def test_secrets_are_those_of_the_roles(overlay, name, contents, models):
    workload = next(w for w in bundle(overlay).workloads if w.name == name)
    allowed = manifests.files_allowed(workload, models[overlay], layout(contents))
    # The Job serves every overlay: a Secret for an exchange is optional, and not there where there is none.
    there = contents if "exchange" in models[overlay] else {n: f for n, f in contents.items() if n != "weir-exchange"}
    assert secret_files(workload, there) == allowed
    for variable in workload.container.get("env", []) + workload.container.get("envFrom", []):
        assert "secret" not in str(variable).lower()


def test_science_alone_has_the_role_key(contents):
    have = {w.name for w in bundle("scaled").workloads if any("role-" in f and f.endswith(".key") for f in secret_files(w, contents))}
    assert have == {"weir-science"}
    dsn = {(o, w.name) for o in OVERLAYS for w in bundle(o).workloads if "owner/dsn" in secret_files(w, contents)}
    assert dsn == {(o, "weir-apply") for o in OVERLAYS}
    assert secret_files(next(w for w in bundle("scaled").workloads if w.name == "weir-status"), contents) == set()


def test_a_secret_too_many_is_seen(contents, models):
    lanes = Workload(bundle("scaled").one("StatefulSet", "weir-lanes"))

    def change(pod):
        pod["volumes"].append({"name": "more", "secret": {"secretName": "weir-keys-science"}})
        pod["containers"][0]["volumeMounts"].append({"name": "more", "mountPath": "/etc/weir/keys"})
    assert secret_files(changed(lanes, change), contents) != manifests.files_allowed(lanes, models["scaled"], layout(contents))


def test_secrets_script(laptop, contents):
    home, documents = laptop
    taken = {f for d in contents.values() for f in d.values()}
    stay = [f for f in (home / "keys").iterdir() if f.read_bytes() not in taken]
    assert {f.name.split("-")[0].split(".")[0] for f in stay} == {"root", "escrow", "audit", "member"}
    for name, files in contents.items():
        for file, data in files.items():
            folder = "keys" if name == "weir-policy" else {"weir-owner": "owner"}.get(name, name.split("-")[1])
            assert (home / folder / file).read_bytes() == data
    assert len(contents["weir-keys-ingest"]["rid.key"]) == 32
    mounted = {s for o in OVERLAYS for w in bundle(o).workloads for _, _, s, _, _ in w.sources()}
    assert set(contents) <= mounted
    assert {d["kind"] for d in documents if d and d["metadata"]["name"] != "weir-policy"} == {"Secret"}
    # Once more: the same, since nothing is made anew.
    again = subprocess.run([manifests.K8S / "secrets.sh", home], capture_output=True, text=True, check=True)
    assert list(yaml.safe_load_all(again.stdout)) == documents


def test_secrets_script_says_what_is_missing(tmp_path):
    done = subprocess.run([manifests.K8S / "secrets.sh", tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (78, "") and "keys/policy is missing" in done.stderr
    assert subprocess.run([manifests.K8S / "secrets.sh"], capture_output=True).returncode == 64


@pytest.fixture
def other_laptop(laptop, tmp_path):
    shutil.copytree(laptop[0], tmp_path / "weir")
    return tmp_path / "weir"


def secrets_of(home):
    return subprocess.run([manifests.K8S / "secrets.sh", home], capture_output=True, text=True)


@pytest.mark.parametrize("gone, without", [
    (["sources/amqp"], "weir-sources"), (["exchange/password"], "weir-exchange"), (["keys/role-*.key"], "weir-keys-science"),
    (["keys/role-*.sealed"], "weir-keys-members"), (["keys/rid.key"], None), (["keys/token-*.key"], None),
    (["sources", "exchange"], "weir-sources"),
])
def test_secrets_script_takes_what_there_is(other_laptop, contents, models, gone, without):
    """Not every pipeline has queues, tokens, roles, or brokers that want a password: who mounts it does without."""
    for pattern in gone:
        for file in list(other_laptop.glob(pattern)):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    done = secrets_of(other_laptop)
    assert done.returncode == 0 and not done.stderr, done.stderr
    made = {d["metadata"]["name"]: d.get("data") or d["binaryData"] for d in filter(None, yaml.safe_load_all(done.stdout))}
    missing = set(contents) - set(made)
    assert missing == ({without} if len(gone) == 1 else {"weir-sources", "weir-exchange"}) - {None}
    assert all(made.values())
    for overlay, name in ALL:
        workload = next(w for w in bundle(overlay).workloads if w.name == name)
        needed = {s for _, kind, s, _, optional in workload.sources() if kind == "secret" and not optional}
        # Without roles there are no hand-overs, and science, which is for them alone, is not deployed.
        assert not needed & missing or name == "weir-science", (overlay, name)


def test_secrets_script_prints_nothing_where_something_is_wrong(other_laptop):
    for file, change in (("logins/task.login", lambda f: f.unlink()), ("sources/amqp", lambda f: f.write_text("")),
                         ("exchange/password", lambda f: (f.unlink(), f.mkdir())), ("owner/dsn", lambda f: f.unlink()),
                         ("sources/a b", lambda f: f.write_text("x")), ("keys/sealer.key", lambda f: f.unlink())):
        other = other_laptop.with_name("wrong")
        shutil.copytree(other_laptop, other)
        change(other / file)
        done = secrets_of(other)
        assert (done.returncode, done.stdout) == (78, "") and file in done.stderr, file
        shutil.rmtree(other)


@pytest.mark.parametrize("overlay, name", ALL)
def test_flows_are_those_of_the_roles(overlay, name, models):
    workload = next(w for w in bundle(overlay).workloads if w.name == name)
    assert {p["metadata"]["name"] for p in bundle(overlay).policies(workload)} == \
        {"weir-default-deny", "weir-dns"} | manifests.flows_allowed(workload, models[overlay])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_policies(overlay, models):
    for policy in bundle(overlay).of("NetworkPolicy"):
        spec, name = policy["spec"], policy["metadata"]["name"]
        assert any(matches(spec["podSelector"], w.labels) for w in bundle(overlay).workloads), f"{name} is of no use"
        if name == "weir-default-deny":
            assert set(spec["policyTypes"]) == {"Ingress", "Egress"} and not {"ingress", "egress"} & set(spec)
            continue
        assert len(spec["policyTypes"]) == 1
        for rule in spec["ingress" if spec["policyTypes"] == ["Ingress"] else "egress"]:
            assert rule["ports"]
            # Who may come in, or be asked, is always said, and is never everybody.
            for peer in rule.get("from") or rule["to"]:
                if "ipBlock" in peer:
                    assert ipaddress.ip_network(peer["ipBlock"]["cidr"]).prefixlen >= 8, name
                else:
                    assert peer.get("podSelector") or peer.get("namespaceSelector"), name
    # The addresses of the pipeline are let through.
    ports = {p["metadata"]["name"]: {x["port"] for r in p["spec"].get("egress", []) for x in r["ports"]}
             for p in bundle(overlay).of("NetworkPolicy")}
    brokers = [s["kafka"]["brokers"] for s in models[overlay]["sources"].values() if "kafka" in s]
    assert brokers and all(int(b.rsplit(":", 1)[1]) in ports["weir-sources"] for b in brokers)
    assert {5671, 5672} <= ports["weir-sources"] and ports["weir-database"] == {5432}
    if "exchange" in models[overlay]:
        assert int(models[overlay]["exchange"]["brokers"].rsplit(":", 1)[1]) in ports["weir-exchange"]


@pytest.mark.parametrize("overlay", ["single", "scaled", "batch"])
def test_a_flow_that_is_not_patched_goes_nowhere(overlay):
    """To an address of documentation (RFC 5737), which nobody has."""
    found = [p for p in bundle(overlay).of("NetworkPolicy") if p["metadata"]["name"] in OUTSIDE]
    assert len(found) == (3 if overlay == "scaled" else 2)
    for policy in found:
        assert [r["to"] for r in policy["spec"]["egress"]] == [[{"ipBlock": {"cidr": "192.0.2.1/32"}}]]


def test_test_overlay_reaches_one_address():
    for name in OUTSIDE:
        policy = bundle("test").one("NetworkPolicy", name)
        assert [r["to"] for r in policy["spec"]["egress"]] == [[{"ipBlock": {"cidr": "10.88.77.1/32"}}]]


# ---- what belongs together ----
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_and_selectors(overlay):
    b = bundle(overlay)
    accounts = {d["metadata"]["name"] for d in b.of("ServiceAccount")}
    assert accounts == {w.pod["serviceAccountName"] for w in b.workloads}
    assert len(accounts) == len(b.workloads)
    assert all(d["automountServiceAccountToken"] is False for d in b.of("ServiceAccount"))
    assert all(d["metadata"]["labels"]["app.kubernetes.io/part-of"] == "weir" for d in b.documents)
    for workload in b.workloads:
        if "selector" in workload.document["spec"]:
            assert [w.name for w in b.workloads if matches(workload.document["spec"]["selector"], w.labels)] == [workload.name]
        for spread in workload.pod.get("topologySpreadConstraints", []):
            assert matches(spread["labelSelector"], workload.labels)
    for service in b.of("Service"):
        selected = [w for w in b.workloads if matches({"matchLabels": service["spec"]["selector"]}, w.labels)]
        assert [w.name for w in selected] == [service["metadata"]["name"]]
    for workload in b.workloads:
        if workload.kind == "StatefulSet":
            b.one("Service", workload.document["spec"]["serviceName"])
    for budget in b.of("PodDisruptionBudget"):
        assert [w.name for w in b.workloads if matches(budget["spec"]["selector"], w.labels)] == [budget["metadata"]["name"]]
    names = {d["metadata"]["name"] for d in b.of("ConfigMap")} | {"weir-policy"}
    for workload in b.workloads:
        used = {s for _, kind, s, _, _ in workload.sources() if kind == "configMap"}
        used |= {e["configMapRef"]["name"] for e in workload.container["envFrom"]}
        assert used <= names and used - {"weir-policy"} == names - {"weir-policy"}
        mounted = {m["name"] for m in workload.container["volumeMounts"]}
        claims = {c["metadata"]["name"] for c in workload.document["spec"].get("volumeClaimTemplates", [])}
        assert mounted == {v["name"] for v in workload.pod["volumes"]} | claims


@pytest.mark.parametrize("overlay, name", ALL)
def test_ports_image_probes_and_grace(overlay, name, models):
    workload, model = next(w for w in bundle(overlay).workloads if w.name == name), models[overlay]
    container, port = workload.container, int(model["listen"].rsplit(":", 1)[1])
    assert container["image"] == ("localhost/" if overlay == "test" else "") + f"weir:{VERSION}"
    assert container.get("imagePullPolicy") == ("Never" if overlay == "test" else None)
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert container["resources"]["requests"].keys() == {"cpu", "memory"} and "memory" in container["resources"]["limits"]
    if workload.args[0] != "apply":
        assert workload.pod["terminationGracePeriodSeconds"] == seconds(model["drain_limit"]) + 15
    if workload.args[0] != "up":
        assert not {"livenessProbe", "readinessProbe", "startupProbe", "ports"} & set(container)
        return
    assert model["listen"].startswith("0.0.0.0:") and [p["containerPort"] for p in container["ports"]] == [port]
    assert workload.template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true", "prometheus.io/port": str(port), "prometheus.io/path": "/metrics"}
    routes = set(re.findall(r'"(/\w+)"', (ROOT / "workers/status/main.c").read_text()))
    probes = {p: container[p]["httpGet"] for p in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert all(p["path"] in routes and p["port"] == container["ports"][0]["name"] for p in probes.values())
    assert {n: p["path"] for n, p in probes.items()} == {
        "startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 120
    for service in bundle(overlay).of("Service"):
        assert [(p["port"], p["targetPort"]) for p in service["spec"]["ports"]] == [(port, container["ports"][0]["name"])]
    scrape = bundle(overlay).one("NetworkPolicy", "weir-scrape")
    assert [p["port"] for r in scrape["spec"]["ingress"] for p in r["ports"]] == [port]


@functools.cache
def options(verb):
    done = weir("help", verb, env={})
    assert done.returncode == 0, f"weir {verb}: {done.stderr}"
    return set(re.findall(r"--([a-z][a-z-]+)", done.stdout))


def commands_in_docs():
    """Every `weir VERB ...` of docs/deploy.md, as lists of words."""
    text = (ROOT / "docs/deploy.md").read_text()
    found = re.findall(r"(?m)(?:^|[`;&] ?|\bbin/)weir ((?:keys|logins|apply|up|run|plan|check|status|handoff|open|dead)\b[^`\n;#&|]*)", text)
    return [f.split() for f in found]


def test_commands_exist():
    """Of pods and of the docs: verbs and options are those of the real program."""
    said = [w.args for o in OVERLAYS for w in bundle(o).workloads] + commands_in_docs()
    assert len(said) > 25
    for words in said:
        for word in words[1:]:
            if word.startswith("--"):
                assert word[2:].split("=")[0] in options(words[0]), words
        if words[0] == "keys":
            assert set(words[1:3]) & set(re.findall(r"[a-z]+", weir("help", "keys", env={}).stdout)), words


def docs_blocks(language):
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", (ROOT / "docs/deploy.md").read_text())


def test_the_overlay_in_the_docs_builds(tmp_path, schema, models):
    """As it stands there, beside a checkout, with the component for the Prometheus operator taken in."""
    text = next(b for b in docs_blocks("yaml") if b.startswith("# loans/kustomization.yaml"))
    (tmp_path / "weir").symlink_to(ROOT)
    (tmp_path / "loans").mkdir()
    (tmp_path / "loans" / "pipeline.yaml").write_text(bundle("scaled").pipeline + "# ours\n")
    whole = yaml.safe_load(text)
    whole["patches"] += yaml.safe_load(next(b for b in docs_blocks("yaml") if b.startswith("# In every pod")))
    whole["components"] = ["../weir/k8s/podmonitor"]
    (tmp_path / "loans" / "kustomization.yaml").write_text(yaml.safe_dump(whole))
    done = subprocess.run([manifests.tools() / "kubectl", "kustomize", tmp_path / "loans"], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    other = manifests.Bundle("loans", [d for d in yaml.safe_load_all(done.stdout)])
    for document in other.documents:
        assert document["metadata"]["namespace"] == "loans"
        assert document["kind"] == "PodMonitor" or schema.errors(document) == []
    for workload in other.workloads:
        assert workload.container["image"] == f"registry.example/weir:{VERSION}"
        assert manifests.restricted(workload.pod) == manifests.hardened(workload) == []
        assert "/etc/ssl/certs/ca-certificates.crt" in workload.mounts() and "/run/weir" in workload.mounts()
    assert other.pipeline.endswith("# ours\n") and "kafka-2.example" in other.environment["WEIR_EXCHANGE"]
    for name in OUTSIDE:
        for to in other.one("NetworkPolicy", name)["spec"]["egress"][0]["to"]:
            assert to["ipBlock"]["cidr"].startswith("10.1.2."), name
    scrape = other.one("NetworkPolicy", "weir-scrape")["spec"]["ingress"]
    assert "observability" in str(scrape) and "monitoring" not in str(scrape) and scrape[0]["ports"]
    monitor = other.of("PodMonitor")[0]["spec"]
    assert all(matches(monitor["selector"], w.labels) for w in other.workloads)
    assert monitor["podMetricsEndpoints"][0]["port"] == "status"


def test_services_show_replicas_that_are_not_ready(models):
    peers = [re.fullmatch(r"http://([\w-]+):(\d+)", p).groups() for p in models["scaled"]["peers"]]
    for name, port in peers:
        service = bundle("scaled").one("Service", name)["spec"]
        assert service["clusterIP"] == "None" and service["publishNotReadyAddresses"] is True
        assert int(port) == service["ports"][0]["port"]
    replicated = {w.name for w in bundle("scaled").workloads if w.args[0] == "up"} - {"weir-status"}
    assert {name for name, _ in peers} == replicated


def test_replicas_and_autoscaling(models):
    for overlay in ("scaled", "test"):
        b = bundle(overlay)
        hpa = b.one("HorizontalPodAutoscaler", "weir-lanes")["spec"]
        target = b.one(hpa["scaleTargetRef"]["kind"], hpa["scaleTargetRef"]["name"])
        assert target["apiVersion"] == hpa["scaleTargetRef"]["apiVersion"] and "replicas" not in target["spec"]
        assert 1 <= hpa["minReplicas"] < hpa["maxReplicas"] <= models[overlay]["groups"]
        metric = hpa["metrics"][0]["pods"]["metric"]["name"]
        assert re.search(rf'\n\| `{metric}`|`{metric}`', (ROOT / "docs/metrics.md").read_text()), metric
        down = hpa["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] == 900
        assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]
    for name in ("weir-ingest", "weir-lanes"):
        assert bundle("scaled").one("StatefulSet", name)["spec"]["podManagementPolicy"] == "Parallel"
        budget = bundle("scaled").one("PodDisruptionBudget", name)["spec"]
        assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
        assert Workload(bundle("scaled").one("StatefulSet", name)).pod["topologySpreadConstraints"]


# ---- jobs ----
def codes():
    """({codes that trying again may mend}, {codes that it cannot}), as docs/exit-codes.md has them."""
    rows = re.findall(r"(?m)^\| (\d+) \| [^|]+ \| ([^|]+) \|$", (ROOT / "docs/exit-codes.md").read_text())
    failures = {int(c): what for c, what in rows if 64 <= int(c) <= 78}
    again = {c for c, what in failures.items() if what.startswith("tries again")}
    known = {int(c) for c in re.findall(r"EXIT_\w+ = (\d+)", (ROOT / "proto/err.h").read_text())}
    assert again and set(failures) == {c for c in known if 64 <= c <= 78}
    return again, set(failures) - again


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_jobs_try_again_what_that_may_mend(overlay):
    again, never = codes()
    jobs = [d["spec"] for d in bundle(overlay).of("Job")] + [d["spec"]["jobTemplate"]["spec"] for d in bundle(overlay).of("CronJob")]
    assert len(jobs) == (2 if overlay == "batch" else 1)
    for job in jobs:
        rules = job["podFailurePolicy"]["rules"]
        assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
        fail = set()
        for rule in rules[1:]:
            assert rule["action"] == "FailJob" and rule["onExitCodes"]["operator"] == "In"
            assert rule["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]
            fail |= set(rule["onExitCodes"]["values"])
        assert fail & (again | never) == never and fail - never <= {1}
        assert job["template"]["spec"]["restartPolicy"] == "Never" and job["backoffLimit"] > 0
        workload = Workload({"kind": "Job", "spec": job})
        assert workload.option("result-file") == workload.container.get("terminationMessagePath", "/dev/termination-log")


def test_cronjob():
    spec = bundle("batch").one("CronJob", "weir-run")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid" and spec["timeZone"] and spec["startingDeadlineSeconds"] >= 60
    assert "weir-science" not in str(spec) and "weir-keys-science" not in str(spec)


def test_a_cronjobs_pod_is_as_every_pod():
    pod = yaml.safe_load((manifests.K8S / "pod/pod.yaml").read_text())["spec"]["template"]
    assert yaml.safe_load((manifests.K8S / "pod/cronjob.yaml").read_text())["spec"]["jobTemplate"]["spec"]["template"] == pod


# ---- the pipelines ----
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_environment_is_what_the_pipeline_asks(overlay):
    assert set(re.findall(r"\$\{(\w+)\}", bundle(overlay).pipeline)) - {"NAME"} == set(bundle(overlay).environment)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pipeline_is_the_loans_example(overlay, models):
    env = {"WEIR_DATA": "/srv/loans", "WEIR_AMQP": "amqp://a/b", "WEIR_LISTEN": "127.0.0.1:8080",
           "WEIR_HANDOFFS": "/srv/handoffs", **bundle(overlay).environment}
    done = weir("validate", "--effective", ROOT / "examples/loans/mixed.yaml", env=env)
    assert done.returncode == 0, done.stderr
    example, ours = yaml.safe_load(done.stdout), copy.deepcopy(models[overlay])
    for model in (example, ours):
        for key in ("listen", "drain_limit", "lanes", "rid_key", "require_sandbox", "peers", "exchange"):
            model.pop(key, None)
        for source in model["sources"].values():
            for transport in ("kafka", "rabbitmq", "file"):
                source.pop(transport, None)
        model["handoffs"]["scoring"].pop("to")
    assert ours == example
    assert {t for s in models[overlay]["sources"].values() for t in s} & {"kafka", "rabbitmq", "file"} == {"kafka", "rabbitmq"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pipeline_in_a_pod(overlay, models):
    model = models[overlay]
    assert ("exchange" in model) == ("peers" in model) == model["require_sandbox"] == (overlay in ("scaled", "test"))
    paths = [model["keys"], model["warehouse"]["postgresql"]["logins"], model["handoffs"]["scoring"]["to"],
             model["warehouse"]["postgresql"]["dsn"].removeprefix("file:"), model["rid_key"].removeprefix("file:")]
    mounts = {m for w in bundle(overlay).workloads for m in w.mounts()}
    for path in paths:
        assert overlay == "batch" and path == model["handoffs"]["scoring"]["to"] or \
            any(path == m or path.startswith(m + "/") for m in mounts), path
