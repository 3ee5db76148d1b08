"""Containers of Weir's image as a runtime starts them: an OCI archive is unpacked, and runc runs a bundle of it, with
what Docker and Kubernetes give a restricted container: no capability, no_new_privs, a read-only root, their filter of
system calls, namespaces of processes, mounts, IPC and names. The network is this machine's."""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import tarfile

import ports

HERE = pathlib.Path(__file__).resolve().parent
RUNC, ROOTED = HERE / "runc", HERE.parents[1] / "deploy" / "rooted"
SECCOMP = pathlib.Path("/usr/share/containers/seccomp.json")  # the profile that Docker and containerd share
START_SECONDS = 30
CAPABILITIES = ("bounding", "effective", "permitted", "inheritable", "ambient")
PSEUDO = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "noexec", "size=64m"]},
]
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def unavailable():
    """Why no container can be run here, or None."""
    if os.geteuid() != 0:
        return "containers are run as root"
    for program in ("runc", "unshare"):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            return f"{program} is not installed"
    tried = subprocess.run([ROOTED, "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "true"],
                           capture_output=True, text=True)
    return f"this system gives no namespaces: {tried.stderr.strip()}" if tried.returncode else None


def in_chroot():
    """Whether / is a directory of a mount and no mount."""
    with open("/proc/self/mountinfo") as f:
        return not any(line.split()[4] == "/" for line in f)


def build(archive):
    """The archive of the image, by the project's own script; what it says is shown."""
    print()
    done = subprocess.run([HERE.parents[1] / "deploy" / "image.sh", archive], stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")
    assert done.returncode == 0, f"deploy/image.sh ended with {done.returncode}"
    return archive


class Image:
    """
    An OCI archive, unpacked below a directory: rootfs; config (Entrypoint, Cmd, Env, User, Labels, ...); bytes,
    unpacked; history. digest: of the configuration, which names all layers.
    """

    def __init__(self, archive, directory):
        self.rootfs = pathlib.Path(directory) / "rootfs"
        with tarfile.open(archive) as tar:
            blob = lambda d: tar.extractfile("blobs/" + d["digest"].replace(":", "/")).read()
            index = json.load(tar.extractfile("index.json"))
            manifest = json.loads(blob(index["manifests"][0]))
            raw = blob(manifest["config"])
            self.digest = hashlib.sha256(raw).hexdigest()
            self.document = json.loads(raw)
            self.rootfs.mkdir(parents=True)
            self.rootfs.chmod(0o755)
            for layer in manifest["layers"]:
                with tarfile.open(fileobj=io.BytesIO(blob(layer))) as files:
                    assert not any(m.name.rpartition("/")[2].startswith(".wh.") for m in files), "a layer that deletes"
                    files.extractall(self.rootfs, numeric_owner=True)
        self.config = self.document["config"]
        self.bytes = sum(f.lstat().st_size for f in self.rootfs.rglob("*") if f.is_file() and not f.is_symlink())

    @property
    def labels(self):
        return self.config.get("Labels") or {}

    @property
    def user(self):
        uid, _, gid = self.config["User"].partition(":")
        return int(uid), int(gid)


def bind(source, destination, writable=False):
    """A mount of a file or directory of this machine."""
    return {"destination": str(destination), "type": "bind", "source": str(source),
            "options": ["rbind", "rprivate", "nosuid", "nodev", "rw" if writable else "ro"]}


def tmpfs(destination, mode="1777", size="64m"):
    return {"destination": str(destination), "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "noexec", f"mode={mode}", f"size={size}"]}


def _seccomp(profile):
    """The profile for a container without capabilities on this kind of machine, as runc reads it."""
    calls = []
    for rule in profile["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if includes.get("caps") or "arches" in includes and "amd64" not in includes["arches"]:
            continue
        if "amd64" in excludes.get("arches", ()):
            continue
        call = {"names": rule["names"], "action": rule["action"], "args": rule.get("args") or []}
        if rule["action"] == "SCMP_ACT_ERRNO":
            call["errnoRet"] = rule.get("errnoRet", 1)
        calls.append(call)
    return {"defaultAction": profile["defaultAction"], "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": calls}


class Failed(Exception):
    pass


class Container:
    """
    One container of an image, below a directory of its own. args: what follows the image's entry point, default its
    Cmd. user: (uid, gid), default the image's. mounts: of bind() and tmpfs(), after a tmpfs on /run/weir. env: beside
    the image's. hosts: {name: address} beside its own and localhost. log and out are files of stderr and stdout.
    """

    def __init__(self, image, directory, args=None, user=None, mounts=(), env=None, read_only=True, groups=(),
                 entrypoint=None, hosts=None):
        self.image, self.directory = image, pathlib.Path(directory)
        self.name = f"weir-test-{secrets.token_hex(6)}"
        self.directory.mkdir(parents=True)
        self.log, self.out = self.directory / "container.log", self.directory / "container.out"
        self.process = self.pid = None
        # Names of its own for the same files: what a runtime makes for mounts stays with this container.
        subprocess.run(["cp", "-al", image.rootfs, self.directory / "rootfs"], check=True)
        names = self.directory / "hosts"
        names.write_text("".join(f"{a} {n}\n" for n, a in {"localhost": "127.0.0.1", self.name: "127.0.0.1",
                                                           **(hosts or {})}.items()))
        names.chmod(0o644)
        given = [bind(names, "/etc/hosts"), bind("/etc/resolv.conf", "/etc/resolv.conf")]
        uid, gid = user or image.user
        entry = image.config["Entrypoint"] if entrypoint is None else entrypoint
        words = [*entry, *map(str, image.config.get("Cmd", ()) if args is None else args)]
        variables = dict(x.split("=", 1) for x in image.config["Env"]) | (env or {})
        own = [] if any(m["destination"] == "/run/weir" for m in mounts) else [tmpfs("/run/weir")]
        self.config = {
            "ociVersion": "1.0.2",
            "hostname": self.name,
            "process": {
                "user": {"uid": uid, "gid": gid, "additionalGids": list(groups)},
                "args": words, "cwd": image.config.get("WorkingDir") or "/",
                "env": [f"{k}={v}" for k, v in variables.items()],
                "capabilities": {kind: [] for kind in CAPABILITIES},
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}],
                "noNewPrivileges": True},
            "root": {"path": "rootfs", "readonly": read_only},
            "mounts": [*PSEUDO, *given, *own, *mounts],
            "linux": {
                "cgroupsPath": f"/{self.name}",
                "namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts")],
                "maskedPaths": MASKED, "readonlyPaths": READ_ONLY}}
        if SECCOMP.exists():
            self.config["linux"]["seccomp"] = _seccomp(json.loads(SECCOMP.read_text()))

    # ---- life ----
    def start(self):
        """Returns when its first process runs, or has already ended."""
        (self.directory / "config.json").write_text(json.dumps(self.config, indent=1))
        pid_file = self.directory / "pid"
        with open(self.log, "ab") as log, open(self.out, "ab") as out:
            self.process = subprocess.Popen(
                [RUNC, self.directory / "state", "run", "--bundle", self.directory, "--pid-file", pid_file, self.name],
                stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True,
                preexec_fn=ports.end_with_parent)
        ports.wait_for("the container", lambda: pid_file.exists() and pid_file.read_text() or
                       self.process.poll() is not None, START_SECONDS)
        if pid_file.exists():
            self.pid = int(pid_file.read_text())
        return self

    def run(self, timeout=120):
        """To its end: the exit code."""
        return self.start().wait(timeout)

    def wait(self, timeout):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"the container did not end in {timeout} s\n{self.tail()}") from None

    def stop(self, sig=signal.SIGTERM, timeout=60):
        """As a runtime stops it; the exit code."""
        self.signal(sig)
        return self.wait(timeout)

    def signal(self, sig):
        """To its first process alone."""
        self._runc("kill", self.name, sig.name, check=False)

    def close(self):
        """Ended, whatever it does, and forgotten."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        self._runc("delete", "--force", self.name, check=False)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def execute(self, *words, user=None, timeout=60):
        """Another process in it, as `docker exec`; the finished process, with its output as text."""
        uid, gid = user or (self.config["process"]["user"][k] for k in ("uid", "gid"))
        if not in_chroot():
            return self._runc("exec", "--user", f"{uid}:{gid}", self.name, *words, check=False, timeout=timeout)
        # There a mount namespace begins outside of the chroot, and runc, which enters the container's, with it.
        environment = dict(word.split("=", 1) for word in self.config["process"]["env"])
        return subprocess.run(["nsenter", "--target", str(self.pid), "--mount", "--pid", "--ipc", "--uts", "--root", "--wd",
                               "--setuid", str(uid), "--setgid", str(gid), *map(str, words)], text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout,
                              env={"PATH": os.environ["PATH"], **environment})

    def _runc(self, *words, check=True, timeout=60):
        done = subprocess.run([RUNC, self.directory / "state", *map(str, words)], text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=timeout)
        if check and done.returncode:
            raise Failed(f"runc {' '.join(map(str, words))}: {done.stderr}")
        return done

    # ---- a look inside ----
    def processes(self):
        """{pid here: (pid in it, parent here, state letter, name)} of all of its processes."""
        found = {}
        try:
            inside = os.readlink(f"/proc/{self.pid}/ns/pid")
        except FileNotFoundError:
            return found
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.readlink(entry / "ns/pid") == inside:
                    status = dict(x.split(":\t", 1) for x in (entry / "status").read_text().splitlines() if ":\t" in x)
                    found[int(entry.name)] = (int(status["NSpid"].split()[-1]), int(status["PPid"]),
                                              status["State"][0], status["Name"])
        return found

    def workers(self, role):
        """Pids here of the living workers of a role."""
        return sorted(pid for pid, (_, _, state, name) in self.processes().items() if name == role and state != "Z")

    def output(self):
        return self.out.read_text(errors="replace") if self.out.exists() else ""

    def text(self):
        """What it said, and then what it put out."""
        return (self.log.read_text(errors="replace") if self.log.exists() else "") + self.output()

    def tail(self, n=60):
        return "\n".join(self.text().splitlines()[-n:])
