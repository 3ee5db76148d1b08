"""k8s/ as kubectl builds it: every overlay, its pods, what they mount, what they may talk to; and what the roles table
says about that."""

import copy
import dataclasses
import fnmatch
import functools
import pathlib
import re
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
OVERLAYS = ("single", "scaled", "batch", "test")
WORKLOADS = ("StatefulSet", "Deployment", "Job", "CronJob")
OWNER = "owner"  # no role: who runs `weir apply`


@functools.cache
def tools():
    """The directory of kubectl and of the schema of its version."""
    done = subprocess.run([ROOT / "tests/k8s/build.sh", "kubectl"], capture_output=True, text=True)
    assert done.returncode == 0, f"no kubectl, which `make test` needs (Go, and Go's module proxy):\n{done.stderr}"
    return pathlib.Path(done.stdout.strip().splitlines()[-1])


@functools.cache
def _text(overlay):
    done = subprocess.run([tools() / "kubectl", "kustomize", K8S / "overlays" / overlay], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, f"{overlay}: {done.stderr}"  # a warning is one of what is deprecated
    return done.stdout


def build(overlay):
    """Its objects, for the caller to change."""
    return [d for d in yaml.safe_load_all(_text(overlay)) if d]


@functools.cache
def bundle(overlay):
    return Bundle(overlay, build(overlay))


def matches(selector, labels):
    """Whether a label selector takes in these labels."""
    for rule in selector.get("matchExpressions", []):
        there = labels.get(rule["key"])
        if rule["operator"] != "In" or there not in rule["values"]:
            return False
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())


@dataclasses.dataclass(frozen=True)
class Workload:
    document: dict

    @property
    def kind(self):
        return self.document["kind"]

    @property
    def name(self):
        return self.document["metadata"]["name"]

    @property
    def template(self):
        spec = self.document["spec"]
        return (spec["jobTemplate"]["spec"] if self.kind == "CronJob" else spec)["template"]

    @property
    def pod(self):
        return self.template["spec"]

    @property
    def container(self):
        assert len(self.pod["containers"]) == 1 and "initContainers" not in self.pod
        return self.pod["containers"][0]

    @property
    def labels(self):
        return self.template["metadata"]["labels"]

    @property
    def args(self):
        return self.container["args"]

    def option(self, name):
        return next((a.split("=", 1)[1] for a in self.args if a.startswith(f"--{name}=")), None)

    def mounts(self):
        """{mount path: (volume, mount)}; a claim's template counts as a volume."""
        volumes = {v["name"]: v for v in self.pod.get("volumes", [])}
        for claim in self.document["spec"].get("volumeClaimTemplates", []):
            volumes[claim["metadata"]["name"]] = {"claim": claim["spec"]}
        return {m["mountPath"]: (volumes[m["name"]], m) for m in self.container["volumeMounts"]}

    def sources(self):
        """(directory, "secret" or "configMap", name, items or None, optional) of everything that is mounted from one."""
        for path, (volume, _) in self.mounts().items():
            for source in volume.get("projected", {}).get("sources", [volume]):
                for kind, key in (("secret", "secretName"), ("configMap", "name")):
                    if kind in source:
                        s = source[kind]
                        items = s.get("items") and {i["key"]: i["path"] for i in s["items"]}
                        yield path, kind, s.get("name") or s[key], items, s.get("optional", False)

    def files(self, contents):
        """{path in the pod: Secret or ConfigMap}. contents: {name of a Secret or ConfigMap: {file: bytes}}."""
        found = {}
        for path, kind, name, items, optional in self.sources():
            assert optional or name in contents or kind == "configMap", f"{self.name} mounts {name}, which nobody makes"
            for file in contents.get(name, {}):
                if items is None or file in items:
                    found[f"{path}/{items[file] if items else file}"] = name
        return found


@dataclasses.dataclass(frozen=True)
class Bundle:
    """One overlay's objects."""
    overlay: str
    documents: list

    def of(self, *kinds):
        return [d for d in self.documents if d["kind"] in kinds]

    def one(self, kind, name):
        found = [d for d in self.of(kind) if d["metadata"]["name"] == name]
        assert len(found) == 1, f"{kind} {name} in {self.overlay}: {len(found)}"
        return found[0]

    @property
    def workloads(self):
        return [Workload(d) for d in self.of(*WORKLOADS)]

    def generated(self, name):
        """A generated ConfigMap, whatever its hash is."""
        found = [d for d in self.of("ConfigMap") if re.fullmatch(re.escape(name) + r"-[a-z0-9]{10}", d["metadata"]["name"])]
        assert len(found) == 1, f"ConfigMap {name}-HASH in {self.overlay}: {len(found)}"
        return found[0]

    @property
    def environment(self):
        return self.generated("weir-environment")["data"]

    @property
    def pipeline(self):
        return self.generated("weir-pipeline")["data"]["pipeline.yaml"]

    def policies(self, workload):
        """NetworkPolicies that select its pods."""
        return [p for p in self.of("NetworkPolicy") if matches(p["spec"]["podSelector"], workload.labels)]


# ---- the roles table ----
@dataclasses.dataclass(frozen=True)
class Role:
    name: str
    per: str
    kind: str
    needs: frozenset


@functools.cache
def roles():
    """{ID: Role}, as proto/roles.def has them."""
    text = re.sub(r"/\*.*?\*/", "", (ROOT / "proto/roles.def").read_text(), flags=re.S)
    rows = re.findall(r'ROLE\((\w+),\s*"(\w+)",\s*(\w+),\s*(\w+),\s*\d+,\s*([\w\s|]+),', text)
    assert len(rows) == text.count("ROLE(") > 5
    return {i: Role(name, per, kind, frozenset(re.findall(r"NEED_\w+", needs))) for i, name, per, kind, needs in rows}


@functools.cache
def sides():
    """{name of a side that --only takes: IDs of its roles}, as supervisor/part.c has them."""
    text = (ROOT / "supervisor/part.c").read_text()
    sets = {}
    for name, words in re.findall(r"(\w+) = ((?:BIT\(\w+\)|\w+_DATA)(?: \| (?:BIT\(\w+\)|\w+))*),", text):
        sets[name] = {r for r in re.findall(r"BIT\((\w+)\)", words)}.union(*(sets.get(w, set()) for w in words.split(" | ")))
    lanes = re.search(r'PART_LANES "(\w+)"', (ROOT / "supervisor/part.h").read_text())[1]
    assert {"CORRELATE", "LOAD", "RELAY"} <= sets["LANES_SIDE"]
    return {lanes: sets["LANES_SIDE"]}


def roles_of(workload, model):
    """The roles that its supervisor bears with this pipeline (a parsed file); {OWNER} of `weir apply`."""
    if workload.args[0] == "apply":
        return {OWNER}
    only = workload.option("only")
    ids = {i for i, r in roles().items() if r.kind != "PARENT" and i != "NULL"}
    if only:
        by_name = {r.name: i for i, r in roles().items()}
        ids = set().union(*(sides().get(w) or {by_name[w]} for w in only.split(","))) | {"STATUS"}
    there = {"EXCHANGES": "exchange" in model, "HANDS": "handoffs" in model}
    return {i for i in ids if there.get(roles()[i].per, True)}


def needs_of(workload, model):
    return set().union(*(roles()[r].needs for r in roles_of(workload, model) if r != OWNER))


@functools.cache
def login_needs():
    """{NEED_*: login}, as supervisor/gather.c has them."""
    found = dict(re.findall(r'\{(NEED_\w+),\s*"(\w+)"\}', (ROOT / "supervisor/gather.c").read_text()))
    assert {"NEED_LOAD", "NEED_KEEPER"} <= set(found)
    return found


@functools.cache
def logins():
    """Every login that there is."""
    table = re.search(r"ddl_logins\[LOGIN_MAX\] = \{(.*?)\n\};", (ROOT / "workers/lib/ddl_grants.c").read_text(), re.S)[1]
    found = re.findall(r'\[LOGIN_\w+\] = \{"(\w+)"', table)
    assert set(login_needs().values()) <= set(found)
    return found


KEY_FILES = {"NEED_TOKENS": ["keys/token-*.key"], "NEED_SEALER": ["keys/sealer.key"], "NEED_ROLE_KEY": ["keys/role-*.key"],
             "NEED_SOURCES": ["sources/*", "keys/rid.key"]}


def files_allowed(workload, model, contents):
    """Every secret file, below /etc/weir, that its roles need and that there is: no other may be mounted."""
    needs = needs_of(workload, model)
    patterns = [p for n in needs for p in KEY_FILES.get(n, [])]
    patterns += [f"logins/{login}.login" for need, login in login_needs().items() if need in needs]
    if "exchange" in model and ("NEED_EXCHANGE" in needs or OWNER in roles_of(workload, model)):
        patterns.append("exchange/*")
    if OWNER in roles_of(workload, model):
        # `weir apply` makes roles of the database from the files of logins, and keeps there what is sealed to members.
        patterns += ["owner/dsn", "keys/role-*.sealed"] + [f"logins/{login}.login" for login in logins()]
    return {f for f in contents if any(fnmatch.fnmatch(f, p) for p in patterns)}


def flows_allowed(workload, model):
    """The names of the NetworkPolicies that its roles need, beside those of every pod."""
    roles_here, needs = roles_of(workload, model), needs_of(workload, model)
    flows = set()
    if OWNER in roles_here or needs & set(login_needs()):
        flows.add("weir-database")
    if "NEED_SOURCES" in needs:
        flows.add("weir-sources")
    if "exchange" in model and (OWNER in roles_here or "NEED_EXCHANGE" in needs):
        flows.add("weir-exchange")
    if "STATUS" in roles_here:
        flows.add("weir-scrape")
    if "peers" in model:
        if "NEED_PEERS" in needs and len(roles_here) == 1:
            flows.add("weir-peers-ask")
        elif "STATUS" in roles_here:
            flows.add("weir-peers-answer")
    return flows


# ---- what a pod may be ----
UID, GID = 64100, 64200
VOLUMES = {"configMap", "secret", "emptyDir", "projected", "persistentVolumeClaim", "ephemeral", "csi", "downwardAPI"}
WRITABLE = {"/run/weir", "/var/lib/weir/handoffs"}


def restricted(pod):
    """Why this pod would not pass Pod Security's `restricted`."""
    bad = []
    for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        if pod.get(name):
            bad.append(name)
    bad += [f"volume {v['name']}: {k}" for v in pod.get("volumes", []) for k in v if k not in VOLUMES | {"name"}]
    security = pod.get("securityContext", {})
    bad += [k for k in ("sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile") if k in security]
    for container in pod.get("initContainers", []) + pod["containers"] + pod.get("ephemeralContainers", []):
        bad += [f"{container['name']}: {word}" for word in _container_bad(container, security)]
    return bad


def _container_bad(container, of_pod):
    own = container.get("securityContext", {})
    either = {**of_pod, **own}
    bad = [k for k in ("privileged", "procMount", "seLinuxOptions", "windowsOptions", "appArmorProfile") if own.get(k)]
    if own.get("allowPrivilegeEscalation") is not False:
        bad.append("allowPrivilegeEscalation")
    if own.get("capabilities", {}).get("drop") != ["ALL"]:
        bad.append("capabilities are not dropped")
    if set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
        bad.append("capabilities are added")
    if either.get("runAsNonRoot") is not True:
        bad.append("runAsNonRoot")
    if either.get("runAsUser") == 0:
        bad.append("runAsUser")
    if either.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        bad.append("seccompProfile")
    bad += ["hostPort" for p in container.get("ports", []) if p.get("hostPort")]
    return bad


def hardened(workload):
    """Why it is not as Weir's pods are beyond `restricted`."""
    bad, pod, own = [], workload.pod, workload.container.get("securityContext", {})
    security = {**pod.get("securityContext", {}), **own}
    for key, value in {"runAsUser": UID, "runAsGroup": GID, "fsGroup": GID, "readOnlyRootFilesystem": True}.items():
        if security.get(key) != value:
            bad.append(key)
    if pod.get("automountServiceAccountToken") is not False:
        bad.append("automountServiceAccountToken")
    if pod.get("serviceAccountName", "default") == "default":
        bad.append("serviceAccountName")
    for path, (volume, mount) in workload.mounts().items():
        own_kinds = set(volume) - {"name"}
        if path in WRITABLE and not own_kinds <= {"emptyDir", "claim"}:
            bad.append(f"{path}: {own_kinds}")
        if path not in WRITABLE and (mount.get("readOnly") is not True or own_kinds & {"emptyDir", "claim"}):
            bad.append(f"{path} can be written")
    for volume in pod.get("volumes", []):
        for source in [volume] + volume.get("projected", {}).get("sources", []):
            if "secret" in source and {**volume.get("projected", {}), **source["secret"]}.get("defaultMode") != 0o400:
                bad.append(f"volume {volume['name']}: mode")
    return bad


def changed(workload, change):
    """A copy, changed by a function of its pod's specification."""
    other = Workload(copy.deepcopy(workload.document))
    change(other.pod)
    return other
