"""The limit of locked memory, as shells and containers set it: keys never come to a disk, nothing is lost by a limit that is low, and what
cannot be is refused at the start, with what to do."""

import contextlib
import json
import os
import re
import subprocess

import pytest

import sealing
from ports import wait_for
from weir import ASAN, BIN, SLOW

UID, GID = 64100, 64200  # those of the image
HEADS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
SWAP = HEADS + "/dev/vda2                               partition\t1048572\t0\t-2\n"
CLASSES = 13  # with identity, financial and dead_letter as many as a pipeline may have
EVENTS = 300


def can_mount():
    return subprocess.run(["unshare", "-m", "sh", "-c", "mount --bind /proc/uptime /proc/swaps"], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.skipif(ASAN, reason="a sanitizer makes mlock a word without meaning"),
    pytest.mark.skipif(os.geteuid() != 0 or not can_mount(), reason="root alone shows a process another list of swaps"),
]


@pytest.fixture(scope="module")
def sealed(world, postgres):
    """A pipeline of as many classes as there can be, with persons; run again and again over files of its own."""
    fields = {f"secret_{n}": f"{{ type: text, sensitive: class_{n} }}" for n in range(CLASSES)}
    name = "locked"
    out = world / f"{name}-out"
    out.mkdir()
    out.chmod(0o777)
    handoffs = f"""handoffs:
  risk:
    query: "SELECT case_id, amount, name FROM raw_application"
    purpose: a model
    recipients: [{sealing.MEMBER}]
    to: {out}
"""
    w = sealing.SealedWeir(world / name, sealing.pipeline(name, fields=fields, key_window="2s", more=handoffs), postgres, name)
    w.keys_init()
    for n in range(CLASSES):
        w.sign("--class", f"class_{n}={sealing.ROLE}")
    w.sign()
    w.apply()
    for place in (w.directory, w.data, w.keys, w.logins, w.run_dir):
        place.chmod(0o755)
    w.run_dir.chmod(0o1777)
    yield w
    w.teardown()


@contextlib.contextmanager
def owned(w, uid):
    """The files of keys and logins are the user's who runs Weir."""
    files = [w.keys / "sealer.key", *w.keys.glob("token-*.key"), *w.keys.glob("role-*.key"), *w.logins.iterdir()]
    for path in files:
        os.chown(path, uid, -1)
    try:
        yield
    finally:
        for path in files:
            os.chown(path, 0, -1)


def run(w, limit_kib, swaps, uid, *verb, options=()):
    """Weir with that limit, that list of swaps, as that user."""
    listed = w.directory / "swaps"
    listed.write_text(swaps)
    user = f"setpriv --reuid {uid} --regid {GID} --clear-groups" if uid else ""
    script = f'mount --bind "$1" /proc/swaps && shift && exec prlimit --memlock={limit_kib * 1024}:{limit_kib * 1024} {user} "$@"'
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", listed, BIN / "weir", *(verb or ("run",)), *options, w.file]
    out = open(w.log, "ab")
    process = subprocess.Popen(list(map(str, words)), env=w.env, cwd=w.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=out, text=True)
    out.close()
    process.log_from = (w.log, 0)
    w.supervisors.append(process)
    return process


numbers = iter(range(1, 1 << 30))


def feed(w, n=EVENTS):
    file = next(numbers)
    secrets = {f"secret_{c}": f"{c} of {file}" for c in range(CLASSES)}
    events = [sealing.application(file * 400 + i, birth="1970-01-01", **secrets) for i in range(n)]
    sealing.write(w.data / f"application-{file}.ndjson", events)
    return n


def rows(w):
    with w.superuser() as c:
        return (c.execute("SELECT count(*) FROM development_schema.raw_application").fetchone()[0],
                c.execute("SELECT count(*) FROM admin_schema.dead_letter").fetchone()[0])


def envelopes(w):
    with w.superuser() as c:
        return c.execute("SELECT count(*) FROM key_schema.envelope").fetchone()[0]


@pytest.mark.parametrize("limit_kib, swaps, uid", [
    pytest.param(64, HEADS, UID, id="64KiB-noswap-user"), pytest.param(64, HEADS, 0, id="64KiB-noswap-root"),
    pytest.param(8192, SWAP, UID, id="8MiB-swap-user"), pytest.param(8192, SWAP, 0, id="8MiB-swap-root"),
    pytest.param(0, HEADS, UID, id="none-noswap-user"),
])
def test_nothing_is_lost(sealed, limit_kib, swaps, uid):
    """Keys of some windows, persons, every class: all are sealed, none becomes a dead letter."""
    w = sealed
    before, dead = rows(w)
    w.log.write_text("")
    with owned(w, uid):
        n = feed(w)
        process = run(w, limit_kib, swaps, uid, "up", options=["--instance", f"i{limit_kib}"])
        w.wait_ready(process, 60)
        for _ in range(2):  # each in another window
            made = envelopes(w)
            wait_for("the next keys", lambda: envelopes(w) > made, 30 * SLOW, 0.2)
            n += feed(w, 20)
        # The files are of a directory that is read as it was at the start: a second start reads the rest.
        w.stop(process)
        process = run(w, limit_kib, swaps, uid)
        out, _ = process.communicate(timeout=120 * SLOW)
        assert process.returncode == 0, out + w.log_tail()
    assert rows(w) == (before + n, dead)
    said = w.log.read_text()
    unlocked = "keys are in memory that is not locked" in said
    assert unlocked == (swaps == HEADS and uid != 0), w.log_tail()  # root's workers lock before they give it up
    assert "Sanitizer" not in said and "signal" not in re.sub("signal-", "", said)


@pytest.mark.parametrize("uid", [UID, 0])
def test_too_little_on_a_machine_that_swaps_is_refused(sealed, uid):
    """Root's workers give their rights away after they have opened their keys: they may have what they have locked until then."""
    w = sealed
    before = rows(w)
    w.log.write_text("")
    with owned(w, uid):
        feed(w)
        process = run(w, 64, SWAP, uid)
        out, _ = process.communicate(timeout=60 * SLOW)
    if uid:
        assert process.returncode == 78, out + w.log_tail()
        for words in ("cannot be locked", "ulimit -l) is 64 KiB", "LimitMEMLOCK=", "a pod cannot", "turn swap off"):
            assert words in json.loads(out)["reason"], out
        assert rows(w) == before
    else:
        assert process.returncode == 0, out + w.log_tail()
        assert rows(w) == (before[0] + EVENTS, before[1])
    # With room all that is left is read.
    with owned(w, uid):
        process = run(w, 8192, SWAP, uid)
        process.communicate(timeout=120 * SLOW)
        assert process.returncode == 0, w.log_tail()
    assert rows(w) == (before[0] + EVENTS, before[1])


def test_science_with_little(sealed):
    """It holds keys of windows by the thousand: what there is no room for fails, and is no value that does not open."""
    w = sealed
    with owned(w, UID):
        n = feed(w)
        process = run(w, 8192, SWAP, UID)
        process.communicate(timeout=120 * SLOW)
        assert process.returncode == 0, w.log_tail()
        total, _ = rows(w)
        for limit_kib, swaps, code in ((64, SWAP, 78), (64, HEADS, 0), (8192, SWAP, 0)):
            process = run(w, limit_kib, swaps, UID, "handoff", "run", "risk")
            out, _ = process.communicate(timeout=120 * SLOW)
            assert process.returncode == code, out + w.log_tail()
            said = json.loads(out)
            if code:
                assert "cannot be locked" in said["reason"]
            else:
                assert said["result"]["rows"] == total >= n and said["result"]["failed"] == 0, said
