"""The keeper by itself: its births, its peers, its files, and what ends everything."""

import os
import re
import shutil
import signal
import subprocess

import pytest

import sealing
from ports import wait_for
from weir import ASAN, BIN, SLOW


@pytest.fixture
def sealed(directory, postgres):
    follow = sealing.FILE.format(name="application", follow=", follow: true")
    call = sealing.FILE.format(name="call", follow=", follow: true")
    made = sealing.SealedWeir(directory / "sealed", sealing.pipeline(sources={"application": follow, "call": call}), postgres,
                              directory.name[:40])
    made.set_up()
    yield made
    made.teardown()


def rows(weir, process, role=None):
    return [r for r in (weir.status(process) or {"workers": []})["workers"] if role in (None, r["role"])]


def row(weir, process, role):
    found = rows(weir, process, role)
    return found[0] if found else None


def up_again(weir, process, role, births):
    return wait_for(f"birth {births} of {role}", lambda: (lambda r: r and r["state"] == "up" and r["births"] == births)(
        row(weir, process, role)), 20 * SLOW)


def test_a_dead_keeper_ends_no_generation(sealed):
    process = sealed.up()
    before = {r["role"]: r["pid"] for r in rows(sealed, process)}
    assert row(sealed, process, "keeper")["state"] == "up"
    sealed.kill(process, "keeper")
    up_again(sealed, process, "keeper", 2)
    after = {r["role"]: r["pid"] for r in rows(sealed, process)}
    assert {r for r in before if before[r] != after[r]} == {"keeper"}
    assert sealed.status(process)["generation"] == 1
    sealed.stop(process)


def test_a_new_generation_keeps_the_keeper(sealed):
    process = sealed.up()
    before = row(sealed, process, "keeper")
    sealed.kill(process, "ingest")
    up_again(sealed, process, "ingest", 2)
    assert row(sealed, process, "keeper")["pid"] == before["pid"]
    assert row(sealed, process, "keeper")["births"] == 1
    assert sealed.status(process)["generation"] == 2
    sealed.stop(process)


def test_it_cannot_be_looked_into(sealed):
    process = sealed.up()
    pid = row(sealed, process, "keeper")["pid"]
    limits = open(f"/proc/{pid}/limits").read()
    assert [w for w in limits.splitlines() if w.startswith("Max core file size")][0].split()[4:6] == ["0", "0"]
    text = open(f"/proc/{pid}/status").read()
    assert "NoNewPrivs:\t1" in text
    if not ASAN:  # a sanitizer's build stays dumpable, and says so
        assert "Seccomp:\t2" in text
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0  # undumpable: its own user may not look either
    sealed.stop(process)


@pytest.mark.parametrize("name", ["sealer.key", "policy"])
def test_a_missing_file_is_named(sealed, name):
    (sealed.keys / name).rename(sealed.directory / name)
    process = sealed.up(ready=False)
    assert process.wait(20 * SLOW) == 78
    assert f"{name} is missing" in sealed.log.read_text()


def test_a_key_that_others_may_read_is_refused(sealed):
    (sealed.keys / "sealer.key").chmod(0o640)
    process = sealed.up(ready=False)
    assert process.wait(20 * SLOW) == 77
    assert "sealer.key: others than its owner have rights on it" in sealed.log.read_text()


def test_an_older_policy_is_refused(sealed):
    old = (sealed.keys / "policy").read_bytes()
    sealed.sign("--renew")
    sealed.apply()
    (sealed.keys / "policy").write_bytes(old)
    process = sealed.up(ready=False)
    assert process.wait(20 * SLOW) == 77
    assert "older" in sealed.log.read_text()


def test_a_hangup_takes_a_new_policy(sealed):
    process = sealed.up()
    sealed.sign("--renew")
    sealed.apply()
    process.send_signal(signal.SIGHUP)
    up_again(sealed, process, "keeper", 2)
    up_again(sealed, process, "ingest", 2)
    sealed.wait_ready(process)
    assert process.poll() is None
    sealed.stop(process)


def test_a_policy_in_force_ends_windows(sealed):
    """Without a signal: a role that was revoked gets no key of a window that begins after `apply`, and few births do it."""
    sealed.file.write_text(sealed.file.read_text() + "limits:\n  key_window: 3s\n")
    sealed.keys_command("grant", "role", "auditors", "--class", "identity", "--member-key", sealed.member_key)
    sealed.apply()
    roles = "SELECT count(DISTINCT w.rkid) FROM key_schema.envelope e JOIN key_schema.wrap w USING (pipeline, kid) WHERE e.class = 'identity' AND "
    with sealed.superuser() as c:
        count = lambda where, *args: c.execute(roles + where, args).fetchone()[0]
        process = sealed.up()
        wait_for("keys of both roles and escrow", lambda: count("true") == 3, 20 * SLOW)
        sealed.keys_command("revoke", "role", "auditors", "--class", "identity")
        sealed.apply()
        applied, = c.execute("SELECT clock_timestamp()").fetchone()
        since = lambda: c.execute("SELECT count(*) FROM key_schema.envelope WHERE published_at > %s", (applied,)).fetchone()[0]
        wait_for("keys after that", lambda: since() >= 6, 30 * SLOW)
        assert count("published_at > %s", applied) == 2
    found = {r["role"]: r for r in rows(sealed, process)}
    assert found["keeper"]["births"] == 2 and found["ingest"]["births"] == 2
    sealing.write(sealed.data / "application-1.ndjson", [sealing.application(n) for n in range(20, 30)])
    sealed.wait_ready(process)
    with sealed.superuser() as c:
        wait_for("events", lambda: c.execute("SELECT count(*) FROM development_schema.raw_application").fetchone() == (10,), 30 * SLOW)
    sealed.stop(process)


def test_one_edited_file_cannot_undo_sealing(sealed):
    """With --policy-root: neither an unsealed pipeline, nor a database under another root, nor somebody else's login."""
    root = sealed.keys / "root.pub"
    sealing.write(sealed.data / "application-1.ndjson", [sealing.application(30)])
    sealed.run("--policy-root", root)
    other = sealed.directory / "other.pub"
    other.write_text("ab" * 32)
    run = lambda *options: sealed.command("run", "--until", "now", *options, sealed.file, codes=(77,), timeout=60).stderr
    sealed.command("run", "--policy-root", sealed.file, sealed.file, codes=(78,))  # no key
    assert "another policy root" in run("--policy-root", other)
    kept = sealed.file.read_text()
    sealed.file.write_text(sealing.pipeline(sealed=False))
    assert "seals nothing" in run("--policy-root", root)
    sealed.file.write_text(kept)
    login, = sealed.logins.glob("load.login")
    os.chown(login, 65534, -1)
    assert f"login {login} belongs to uid 65534, neither ours nor root" in run()
    os.chown(login, os.geteuid(), -1)
    sealed.run()


def test_deaths_while_events_flow(sealed):
    """Windows turn every second; keeper, ingest and everyone die in between: each event is there once."""
    sealed.file.write_text(sealed.file.read_text() + "limits:\n  key_window: 1s\n")
    process = sealed.up()
    n = 0
    births = {"keeper": 1, "ingest": 1}
    for victim in ("keeper", "ingest", "all", "keeper", "keeper", "ingest"):
        sealing.write(sealed.data / "application.ndjson", [sealing.application(n + i) for i in range(100)], "a")
        n += 100
        if victim == "all":
            process.send_signal(signal.SIGHUP)
        else:
            sealed.kill(process, victim)
        for role in births:
            births[role] += victim in (role, "all")
            up_again(sealed, process, role, births[role])
    with sealed.superuser() as c:
        wait_for("every event", lambda: c.execute("SELECT count(*), count(DISTINCT rid) FROM development_schema.raw_application")
                 .fetchone() == (n, n), 60 * SLOW)
        assert c.execute("SELECT count(*) FROM admin_schema.dead_letter").fetchone() == (0,)
        assert c.execute("SELECT count(*) FROM key_schema.envelope").fetchone()[0] >= 9
    sealed.stop(process)


def test_without_its_database_it_waits(sealed):
    login = sealed.logins / "keeper.login"
    login.write_text(re.sub(r"port='?\d+'?", "port='1'", login.read_text()))
    process = sealed.up(ready=False)
    waiting = wait_for("its wait", lambda: (lambda r: r if r and r["wait"] == "warehouse" else None)(
        row(sealed, process, "keeper")), 20 * SLOW)
    assert "password" not in waiting["why"]
    assert sealed.get(process, "/readyz")[0] == 503
    sealed.stop(process)


def test_a_keeper_that_cannot_live_ends_a_run(sealed):
    """Nothing may be sealed without it, so a bounded run would wait for ever."""
    sealing.write(sealed.data / "application.ndjson", [sealing.application(n) for n in range(10)])
    place = sealed.directory / "bin"
    place.mkdir()
    for path in BIN.iterdir():
        if path.is_file() and path.name != "keeper":
            (shutil.copy if path.name == "supervisor" else lambda a, b: b.symlink_to(a))(path, place / path.name)
    (place / "keeper").write_text("#!/bin/sh\nexit 3\n")
    (place / "keeper").chmod(0o755)
    done = subprocess.run([place / "supervisor", "run", sealed.file, "--wait", "2"], env=sealed.env, text=True,
                          capture_output=True, timeout=60 * SLOW)
    assert done.returncode == 69, done.stderr
    assert "keeper" in done.stdout
    assert "keeper.0: died: exit 3; it is born again in" in done.stderr
