#!/usr/bin/env python3
"""A Kubernetes of one node, inside a box (box.py): real API server, controllers, scheduler, containerd, kubelet and
kube-proxy; stand-ins for what a cluster has beside them (standins.py).

As a program, `box.py cluster.py COMMAND...` runs a command beside a cluster, with KUBECONFIG and PATH set: a shell, by default.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import box
import image
from pki import Authority

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "e2e"))
from ports import die_with_parent, wait_for  # noqa: E402

# All free: the box has no other services.
API, ETCD, ETCD_PEER, CONTROLLERS, SCHEDULER, KUBELET, KUBELET_HEALTH, PROXY, METRICS = 6443, 2379, 2380, 10257, 10259, \
    10250, 10248, 10249, 6444
URL = f"https://127.0.0.1:{API}"
NODE_NAME = "node"
PODS_NET = "10.88.77.0/24"
PAUSE_IMAGE = "localhost/pause:1"
CNI_PROGRAMS = "/usr/lib/cni"
START_SECONDS = 120


class Cluster:
    """directory: where all state is. programs: of build.sh."""

    def __init__(self, directory, programs):
        self.directory = pathlib.Path(directory)
        self.programs = pathlib.Path(programs)
        self.children = {}
        self.kubeconfig = self.directory / "admin.kubeconfig"
        self.socket = self.directory / "containerd.sock"

    # ---- life ----
    def start(self):
        begun = time.monotonic()
        for name in ("log", "etcd", "containerd", "kubelet", "cni", "pods", "plugins"):
            (self.directory / name).mkdir(parents=True)
        self._issue()
        self._control_plane()
        self._node()
        wait_for("the node", self._node_is_ready, START_SECONDS, 0.2)
        # The autoscaler's metrics are a part of the API: without it nothing of it would be found.
        wait_for("the metrics API", lambda: self._answers(f"/apis/{self.METRICS_API}"), START_SECONDS, 0.2)
        print(f"cluster: ready in {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
        return self

    METRICS_API = "custom.metrics.k8s.io/v1beta2"

    def stop(self):
        """Last started, first ended; containers and their shims end with the box."""
        for name, child in reversed(self.children.items()):
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children = {}

    def _spawn(self, name, *command):
        with open(self.directory / "log" / f"{name}.log", "ab") as log:
            self.children[name] = subprocess.Popen(
                [*map(str, command)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=die_with_parent)

    def check(self):
        """Raises when one of the cluster's own processes has ended."""
        for name, child in self.children.items():
            if child.poll() is not None:
                raise RuntimeError(f"{name} ended with {child.returncode}\n{self.log_tail(name)}")

    def log_tail(self, name, n=25):
        text = (self.directory / "log" / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-n:])

    # ---- who is who ----
    def _issue(self):
        pki = self.pki = Authority(self.directory / "pki")
        pki.issue("server", "/CN=server", [f"IP:127.0.0.1,IP:{box.NODE},DNS:localhost,DNS:{NODE_NAME},DNS:kubernetes.default.svc"])
        pki.issue("admin", "/O=system:masters/CN=admin")
        pki.issue("node", f"/O=system:nodes/CN=system:node:{NODE_NAME}")
        pki.issue("front", "/CN=front-proxy")
        self.accounts, self.accounts_public = pki.key_pair("accounts")
        for user in ("admin", "node"):
            (self.directory / f"{user}.kubeconfig").write_text(json.dumps({
                "apiVersion": "v1", "kind": "Config", "current-context": "weir",
                "clusters": [{"name": "weir", "cluster": {"server": URL, "certificate-authority": str(pki.cert("ca"))}}],
                "users": [{"name": user, "user": {"client-certificate": str(pki.cert(user)),
                                                  "client-key": str(pki.key(user))}}],
                "contexts": [{"name": "weir", "context": {"cluster": "weir", "user": user}}]}))

    # ---- the control plane ----
    def _control_plane(self):
        etcd = f"http://127.0.0.1:{ETCD}"
        peer = f"http://127.0.0.1:{ETCD_PEER}"
        self._spawn("etcd", "etcd", "--data-dir", self.directory / "etcd", "--name", "weir", "--unsafe-no-fsync",
                    "--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", peer,
                    "--initial-advertise-peer-urls", peer, "--initial-cluster", f"weir={peer}")
        self._api_server(etcd)
        wait_for("the API server", lambda: self._answers("/readyz"), START_SECONDS, 0.2)
        # Who reaches these two, and what elects a leader, is of no interest with one of each.
        common = ["--kubeconfig", self.kubeconfig, "--authentication-kubeconfig", self.kubeconfig,
                  "--authorization-kubeconfig", self.kubeconfig, "--bind-address", "127.0.0.1", "--leader-elect=false"]
        self._spawn("controllers", self.programs / "kube-controller-manager", *common, "--secure-port", CONTROLLERS,
                    "--use-service-account-credentials", "--service-account-private-key-file", self.accounts,
                    "--root-ca-file", self.pki.cert("ca"), "--horizontal-pod-autoscaler-sync-period", "2s")
        self._spawn("scheduler", self.programs / "kube-scheduler", *common, "--secure-port", SCHEDULER)

    def _api_server(self, etcd):
        pki = self.pki
        self._spawn(
            "api", self.programs / "kube-apiserver", "--etcd-servers", etcd, "--bind-address", "127.0.0.1",
            "--secure-port", API, "--authorization-mode", "Node,RBAC", "--allow-privileged=true", "--enable-admission-plugins", "NodeRestriction",
            # Its own address is loopback, which may not be published: nothing in this cluster asks the API.
            "--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none",
            "--service-cluster-ip-range", box.SERVICES,
            "--client-ca-file", pki.cert("ca"), "--tls-cert-file", pki.cert("server"), "--tls-private-key-file", pki.key("server"),
            "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-signing-key-file", self.accounts,
            "--service-account-key-file", self.accounts_public,
            "--kubelet-certificate-authority", pki.cert("ca"), "--kubelet-preferred-address-types", "InternalIP",
            "--kubelet-client-certificate", pki.cert("admin"), "--kubelet-client-key", pki.key("admin"),
            "--requestheader-client-ca-file", pki.cert("ca"), "--requestheader-allowed-names", "front-proxy",
            "--requestheader-username-headers", "X-Remote-User", "--requestheader-group-headers", "X-Remote-Group",
            "--requestheader-extra-headers-prefix", "X-Remote-Extra-",
            "--proxy-client-cert-file", pki.cert("front"), "--proxy-client-key-file", pki.key("front"))

    # ---- the node ----
    def _node(self):
        self._write_containerd()
        self._write_kubelet()
        self._spawn("containerd", "containerd", "-c", self.directory / "containerd.toml")
        self._spawn("standins", sys.executable, "-B", HERE / "standins.py", self.directory, URL, METRICS, PODS_NET)
        wait_for("containerd", lambda: self.ctr("version", check=False).returncode == 0, START_SECONDS, 0.1)
        self._load_pause()
        self._spawn("kubelet", self.programs / "kubelet", "--config", self.directory / "kubelet.yaml", "--kubeconfig",
                    self.directory / "node.kubeconfig", "--root-dir", self.directory / "kubelet",
                    "--hostname-override", NODE_NAME, "--node-ip", box.NODE)
        # Zeros: settings of connection tracking that belong to the machine.
        self._spawn("proxy", self.programs / "kube-proxy", "--kubeconfig", self.kubeconfig, "--proxy-mode", "iptables",
                    "--hostname-override", NODE_NAME, "--bind-address", box.NODE, "--cluster-cidr", PODS_NET,
                    "--metrics-bind-address", f"127.0.0.1:{PROXY}", "--healthz-bind-address", "",
                    "--iptables-localhost-nodeports=false", "--conntrack-max-per-core", "0",
                    "--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0")

    def _load_pause(self):
        """Every pod begins with an image that a registry would have."""
        program, archive = self.directory / "pause", self.directory / "pause.tar"
        subprocess.run(["gcc", "-O2", "-static", "-o", program, HERE / "pause.c"], check=True)
        image.write(archive, PAUSE_IMAGE, program)
        self.load(archive)

    def _write_containerd(self):
        d = self.directory
        (d / "net.d").mkdir()
        # Point to point: a pod's packets to another one are routed, never bridged, and so meet the filters.
        (d / "net.d" / "10-weir.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "weir", "plugins": [{
            "type": "ptp", "ipMasq": False, "ipam": {
                "type": "host-local", "dataDir": str(d / "cni"), "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": PODS_NET, "rangeStart": PODS_NET.replace(".0/24", ".10")}]]}}]}))
        criplug = 'plugins."io.containerd.grpc.v1.cri"'
        (d / "containerd.toml").write_text(f"""version = 2
root = "{d}/containerd/root"
state = "{d}/containerd/state"
disabled_plugins = [{', '.join(f'"io.containerd.snapshotter.v1.{s}"' for s in ("aufs", "btrfs", "devmapper", "zfs"))}]
[grpc]
  address = "{self.socket}"
[{criplug}]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true # lower than its own may not be had
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
[{criplug}.cni]
  bin_dir = "{CNI_PROGRAMS}"
  conf_dir = "{d}/net.d"
[{criplug}.containerd]
  snapshotter = "{self._snapshotter()}"
[{criplug}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{criplug}.containerd.runtimes.runc.options]
  SystemdCgroup = false
""")

    def _snapshotter(self):
        """Layers over each other, or copied where the file system cannot do that."""
        trial = self.directory / "overlay"
        for name in ("lower", "upper", "work", "on"):
            (trial / name).mkdir(parents=True)
        done = subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir={trial}/lower,upperdir={trial}/upper,"
                               f"workdir={trial}/work", "overlay", trial / "on"], capture_output=True)
        if done.returncode == 0:
            subprocess.run(["umount", trial / "on"], check=True)
        shutil.rmtree(trial)
        return "overlayfs" if done.returncode == 0 else "native"

    def _write_kubelet(self):
        d = self.directory
        (d / "resolv.conf").write_text("")
        (d / "kubelet.yaml").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "address": box.NODE, "port": KUBELET, "healthzBindAddress": "127.0.0.1", "healthzPort": KUBELET_HEALTH,
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": str(self.pki.cert("ca"))}},
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(self.pki.cert("server")), "tlsPrivateKeyFile": str(self.pki.key("server")),
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{os.environ['WEIR_BOX_CGROUP']}", "failCgroupV1": False,
            "failSwapOn": False, "oomScoreAdj": 0, "makeIPTablesUtilChains": False,
            "resolvConf": str(d / "resolv.conf"), "clusterDNS": [box.DNS], "clusterDomain": "cluster.local",
            "podLogsDir": str(d / "pods"), "volumePluginDir": str(d / "plugins"),
            # The disk is the machine's, however full it is.
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "syncFrequency": "10s", "nodeStatusUpdateFrequency": "5s"}))

    # ---- asking it ----
    def kubectl(self, *args, input=None, check=True, timeout=120):
        """The result, with stdout and stderr as text; fails too when a part of the cluster has ended meanwhile."""
        self.check()
        done = subprocess.run([self.programs / "kubectl", "--kubeconfig", self.kubeconfig, *map(str, args)], text=True,
                              capture_output=True, input=input, timeout=timeout)
        if check and done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, args))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def apply(self, thing):
        """One object, as data."""
        return self.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", input=json.dumps(thing))

    def wait_account(self, namespace):
        """Pods of a namespace are refused until it has its account."""
        wait_for(f"the account of {namespace}", lambda: self.kubectl(
            "-n", namespace, "get", "serviceaccount", "default", check=False).returncode == 0, 30, 0.2)

    def get(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def _answers(self, path):
        return self.kubectl("get", "--raw", path, check=False).returncode == 0

    def _node_is_ready(self):
        for node in self.get("nodes")["items"]:
            if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", [])):
                return True
        return False

    def ctr(self, *args, check=True):
        return subprocess.run(["ctr", "-a", self.socket, "-n", "k8s.io", *map(str, args)], text=True, capture_output=True,
                              check=check)

    def load(self, archive):
        """An archive's images; one without a registry is localhost's, and by a kubelet's rules Docker's as well."""
        self.ctr("images", "import", archive)
        for name in self.ctr("images", "ls", "-q").stdout.split():
            if "/" not in name and not name.startswith("sha256:"):
                for registry in ("docker.io/library", "localhost"):
                    self.ctr("images", "tag", "--force", name, f"{registry}/{name}")


@contextlib.contextmanager
def running(programs):
    """A started cluster in the box's directory."""
    if "WEIR_BOX" not in os.environ:
        raise SystemExit("cluster.py: works inside a box alone: box.py cluster.py")
    cluster = Cluster(pathlib.Path(os.environ["WEIR_BOX"]) / "cluster", programs)
    try:
        yield cluster.start()
    except BaseException:
        for name, child in cluster.children.items():
            if child.poll() is not None:
                print(f"--- {name}\n{cluster.log_tail(name)}", file=sys.stderr)
        raise
    finally:
        cluster.stop()


def main():
    programs = subprocess.run([HERE / "build.sh", "all"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    with running(programs) as cluster:
        command = sys.argv[1:] or [os.environ.get("SHELL", "bash")]
        environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "PATH": f"{programs}:{os.environ['PATH']}",
                       "CONTAINERD_ADDRESS": str(cluster.socket), "CONTAINERD_NAMESPACE": "k8s.io"}
        return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
