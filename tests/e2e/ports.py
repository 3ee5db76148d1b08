"""What the servers that a test run starts have in common: free loopback ports, an end, and waiting."""

import ctypes
import random
import signal
import socket
import time

PR_SET_PDEATHSIG = 1

# Below the kernel's range for outgoing connections, so that a server can have its port again after
# it was killed: nobody's client socket is given it in between.
PORT_LOWEST, PORT_HIGHEST = 20000, 32000


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(n):
    """n different ports that nobody listens on."""
    found = []
    for port in random.SystemRandom().sample(range(PORT_LOWEST, PORT_HIGHEST), 1000):
        if is_free(port):
            found.append(port)
        if len(found) == n:
            return found
    raise RuntimeError("no free ports")


def listens(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """preexec_fn: a test run that is killed leaves no server behind."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_parent():
    """preexec_fn: as die_with_parent, for what must end in an orderly way."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_for(what, condition, timeout, every=0.05):
    """Polls condition() until it is true and returns its value; TimeoutError names `what`."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(every)
