"""Weir's pods: what the API says of them, their processes, their files, their network, as the node sees them."""

import contextlib
import os
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request

from ports import wait_for

STATUS_PORT = 8080
TRY = """
import socket, sys
s = socket.socket(); s.settimeout(float(sys.argv[3]))
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    print("open")
except socket.timeout:
    print("silence")
except OSError as e:
    print(e.strerror)
"""


class Pods:
    """Of one namespace."""

    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace

    # ---- the API ----
    def kubectl(self, *args, **kw):
        return self.cluster.kubectl("-n", self.namespace, *args, **kw)

    def get(self, *args):
        return self.cluster.get("-n", self.namespace, *args)

    def of(self, component):
        """{name: pod} of those that are not going away."""
        return {p["metadata"]["name"]: p for p in self.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
                if "deletionTimestamp" not in p["metadata"]}

    def pod(self, name):
        return self.get("pod", name)

    @staticmethod
    def is_ready(pod):
        return "deletionTimestamp" not in pod["metadata"] and any(
            c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))

    @staticmethod
    def restarts(pod):
        return sum(c["restartCount"] for c in pod["status"].get("containerStatuses", []))

    def wait_ready(self, component, count, seconds=120):
        def ready():
            pods = self.of(component)
            return len(pods) == count and all(map(self.is_ready, pods.values())) and pods
        try:
            return wait_for(f"{count} ready pods of {component}", ready, seconds, 0.3)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.story(component)}") from None

    def story(self, component=None):
        """What happened, for a failure's message."""
        chosen = ["-l", f"app.kubernetes.io/component={component}"] if component else []
        text = self.kubectl("get", "pods", "-o", "wide", check=False).stdout
        for name in self.kubectl("get", "pods", *chosen, "-o", "name", check=False).stdout.split():
            text += f"--- {name}\n" + self.kubectl("describe", name, check=False).stdout[-1500:]
            for more in (["--previous"], []):
                text += self.kubectl("logs", name, "--tail=25", *more, check=False).stdout
        return text

    def logs(self, name, *more):
        return self.kubectl("logs", name, *more).stdout

    def scale(self, name, count):
        self.kubectl("scale", name, f"--replicas={count}")

    def exec(self, name, *command, check=True):
        return self.kubectl("exec", name, "--", *command, check=check)

    def evict(self, name):
        """As a drain of the node does; the answer's text."""
        body = f'{{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {{"name": "{name}", "namespace": "{self.namespace}"}}}}'
        return self.cluster.kubectl("create", "--raw", f"/api/v1/namespaces/{self.namespace}/pods/{name}/eviction", "-f", "-",
                                    input=body, check=False)

    # ---- processes ----
    def processes(self, pod):
        """{pid: (executable, state)} of the pod's containers, without the one that holds its namespaces."""
        uid, found = pod["metadata"]["uid"], {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if uid not in (entry / "cgroup").read_text():
                    continue
                status = (entry / "status").read_text()
                name = re.search(r"^Name:\s*(.*)", status, re.M)[1]
                if name != "pause":
                    found[int(entry.name)] = (name, re.search(r"^State:\s*(\S)", status, re.M)[1])
        return found

    def first_process(self, pod):
        """The pid here of the container's process 1."""
        def find():
            for pid in self.processes(pod):
                with contextlib.suppress(OSError):
                    numbers = re.search(r"^NSpid:\s*(.*)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1].split()
                    if numbers[-1] == "1":
                        return pid
            return None
        return wait_for(f"process 1 of {pod['metadata']['name']}", find, 30, 0.1)

    def root(self, pod):
        """Its file system, with all that is mounted there."""
        return pathlib.Path(f"/proc/{self.first_process(pod)}/root")

    # ---- the network ----
    @staticmethod
    def address(pod):
        return pod["status"]["podIP"]

    def http(self, pod, path):
        """(status, body) of its status port, as the kubelet asks; (0, "") without an answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address(pod)}:{STATUS_PORT}{path}", timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def connect(self, pod, address, port, seconds=2):
        """From inside the pod's network: "open", "silence" (what was sent is dropped), or the error's text."""
        done = subprocess.run(["nsenter", "--net", "--target", str(self.first_process(pod)), sys.executable, "-c", TRY,
                               address, str(port), str(seconds)], capture_output=True, text=True, check=True,
                              env={"PATH": os.environ["PATH"]})
        return done.stdout.strip()
