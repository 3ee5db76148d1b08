#!/usr/bin/env python3
"""box.py COMMAND...: runs a command, and all that it starts, in namespaces of their own.

A whole Kubernetes fits in: a node changes addresses, routes, packet filters, mounts and settings of the kernel. In the box
these are the box's own, and go with it, whatever ends it; two boxes at once do not meet. There is no network but the box's
inside. Only control groups are the machine's: a box makes one directory named after itself in each hierarchy.

Works as root, also below a chroot. Where namespaces or control groups cannot be had it prints why, and exits 75.
WEIR_BOX, WEIR_BOX_CGROUP: for the command, the box's directory (removed at its end) and the name of its control group.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

CANNOT = 75
PREFIX = "weir-box-"
NODE, DNS = "10.88.77.1", "10.88.77.2"  # addresses of the box itself; pods have others of this /24
SERVICES = "10.96.0.0/16"
CGROUPS = pathlib.Path("/sys/fs/cgroup")
PR_SET_PDEATHSIG = 1
MNT_DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # the system call, which the C library does not have
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)

# What a kubelet wants the kernel to be set to. These are the machine's: it is shown files that say so already.
SETTINGS = {"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
            "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000"}


class Refused(Exception):
    pass


def run(*args):
    subprocess.run([*map(str, args)], check=True)


def hierarchies():
    """{directory's name: mount's arguments} of the kernel's control groups; "" for version 2 alone."""
    found = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, _ = line.split(":", 2)
        if number != "0":
            option = f"none,{controllers}" if controllers.startswith("name=") else controllers
            found[controllers.removeprefix("name=")] = ["-t", "cgroup", "-o", option, "cgroup"]
    if "memory" not in found and pathlib.Path("/proc/filesystems").read_text().find("\tcgroup2\n") >= 0:
        return {"": ["-t", "cgroup2", "cgroup2"]} if not found else {**found, "unified": ["-t", "cgroup2", "cgroup2"]}
    return found


# ---- outside ----
def unshare(*flags):
    if libc.unshare(sum(flags)) != 0:
        raise Refused(f"namespaces are refused here: {os.strerror(ctypes.get_errno())}")


def outside(command):
    """The parent of the box's first process, which is the first child since the unshare."""
    if os.geteuid() != 0:
        raise Refused("only root may make namespaces and control groups")
    if not hierarchies():
        raise Refused("this kernel shows no control groups")
    machine = os.open("/proc", os.O_RDONLY)
    for old in pathlib.Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        if is_over(old.name, machine):
            shutil.rmtree(old, ignore_errors=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    directory.chmod(0o755)
    try:
        unshare(CLONE_NEWPID)
        child = os.fork()
        if child == 0:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os._exit(first_process(directory, machine, command))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's goes to the command as well: it ends, then we
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return code if code >= 0 else 128 - code


# ---- inside ----
def enter_root(directory):
    """
    The root again, as a mount of its own, and the first one of this namespace: where a process lands that enters the
    namespace, and what a container leaves behind. Below a chroot neither is so: there, the first one is the machine's.
    """
    here, root = os.open("/", os.O_RDONLY), directory / "root"
    to_first_root()
    run("mount", "--make-rprivate", "/")
    os.fchdir(here)
    os.chroot(".")
    root.mkdir()
    run("mount", "--rbind", "/", root)
    new = os.open(root, os.O_RDONLY)
    to_first_root()
    os.fchdir(new)
    system(libc.syscall(PIVOT_ROOT[os.uname().machine], b".", b"."))
    system(libc.umount2(b".", MNT_DETACH))
    for fd in (here, new):
        os.close(fd)


def to_first_root():
    """Whoever enters a namespace of mounts begins at its root, even one who is there already."""
    fd = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    system(libc.setns(fd, CLONE_NEWNS))
    os.close(fd)


def system(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount_system(directory):
    """/proc of these processes, /sys of this network, the control groups, /run of our own, and the settings."""
    run("mount", "-t", "proc", "proc", "/proc")
    run("mount", "-t", "sysfs", "sysfs", "/sys")
    groups = hierarchies()
    if "" not in groups:
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", CGROUPS)
    for name, arguments in groups.items():
        (CGROUPS / name).mkdir(exist_ok=True)
        run("mount", *arguments, CGROUPS / name)
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for setting, value in SETTINGS.items():
        real = pathlib.Path("/proc/sys") / setting
        if real.exists():
            shown = directory / "settings" / setting.replace("/", ".")
            shown.parent.mkdir(exist_ok=True)
            shown.write_text(value + "\n")
            run("mount", "--bind", shown, real)


def cgroup_roots():
    return [CGROUPS / h for h in hierarchies()]


def make_cgroups(name):
    for root in cgroup_roots():
        own = root / name
        own.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):  # version 1 has a new group begin with none
            if (own / file).exists() and not (own / file).read_text().strip():
                (own / file).write_text((root / file).read_text())


def remove_cgroups(name, seconds=10):
    """A group can be removed when the kernel has buried its last process."""
    end = time.monotonic() + seconds
    while True:
        tops = [root / name for root in cgroup_roots() if (root / name).exists()]
        for top in tops:
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
        if not any(top.exists() for top in tops) or time.monotonic() > end:
            return
        time.sleep(0.1)


def is_over(name, machine):
    """Whether that box's process is no more. machine: /proc of the machine, where the living ones are seen."""
    try:
        os.stat(name.removeprefix(PREFIX).split("-")[0], dir_fd=machine)
        return False
    except FileNotFoundError:
        return True


def sweep_cgroups(machine):
    """Those of boxes that were killed."""
    for name in {p.name for root in cgroup_roots() for p in root.glob(PREFIX + "*")}:
        if is_over(name, machine):
            remove_cgroups(name, 0)


def make_network():
    run("ip", "link", "set", "lo", "up")
    for address in (NODE, DNS):
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    # Addresses of Services are translated on their way out: there must be a way.
    run("ip", "route", "add", SERVICES, "dev", "lo", "src", NODE)
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def start(command):
    """The command, as a child that a terminal can interrupt."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"box.py: {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)
    return child


def bury(child):
    """Reaps whatever ends until the child has; its exit code."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def end_all():
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def first_process(directory, machine, command):
    """Its end is the end of all others."""
    here = os.getcwd()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        unshare(CLONE_NEWNET, CLONE_NEWNS)
        enter_root(directory)
        mount_system(directory)
        sweep_cgroups(machine)
        os.close(machine)
        make_cgroups(directory.name)
        make_network()
    except (Refused, OSError, subprocess.CalledProcessError) as error:
        print(f"box.py: {error}", file=sys.stderr)
        return CANNOT
    os.chdir(here)
    os.environ.update(WEIR_BOX=str(directory), WEIR_BOX_CGROUP=directory.name)
    child = start(command)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    code = bury(child)
    end_all()
    remove_cgroups(directory.name)
    return code


def main():
    arguments = sys.argv[1:]
    if not arguments:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 64
    try:
        return outside(arguments)
    except Refused as reason:
        print(f"box.py: {reason}", file=sys.stderr)
        return CANNOT


if __name__ == "__main__":
    sys.exit(main())
