"""--result-file: whatever ends a run, an apply or a hand-over, one line of JSON says so in a file, at most 4096 bytes."""

import contextlib
import json
import os
import pathlib
import signal
import stat
import subprocess
import time

import pytest

import loans
import sealing
from ports import wait_for
from weir import BIN, SLOW

MOST = 4096
UID, GID = 64100, 64200  # those of the image


def kept(path):
    data = pathlib.Path(path).read_bytes()
    assert data.endswith(b"\n") and data.count(b"\n") == 1 and len(data) <= MOST, data
    return json.loads(data.decode("utf-8"))


@pytest.fixture
def file(directory):
    return directory / "result"


def run(w, file, *options, codes=(0,), **kw):
    """The line in the file, and what the run printed."""
    done = w.command("run", *options, "--result-file", file, w.file, codes=codes, **kw)
    got = kept(file)
    assert got["exit"] == done.returncode
    return got, done


def events(w, n=20, bad=0):
    for s in loans.STREAMS:
        loans.write(w.data / f"{s}.ndjson", [])
    lines = loans.twin(processes=n, seed=3)["application"]
    loans.write(w.data / "application.ndjson", lines)
    with open(w.data / "application.ndjson", "a") as f:
        f.write("no event\n" * bad)
    return len(lines)


# ---- run ----
def test_a_run_from_its_end_to_its_middle(make_weir, file):
    w = make_weir(loans.pipeline())
    n = events(w)
    # Nothing was applied yet: refused before anything is read.
    got, _ = run(w, file, codes=(78,))
    assert "apply" in got["reason"]
    w.apply()
    got, done = run(w, file)
    assert got == json.loads(done.stdout) and got["events"]["application"] == n and got["rows"]
    # Dead letters, few and too many.
    events(w, bad=3)
    got, done = run(w, file, codes=(1, 65))
    assert got == json.loads(done.stdout)
    # A login that others may read.
    (w.directory / "logins" / "load.login").chmod(0o644)
    got, _ = run(w, file, codes=(77,))
    assert "load.login" in got["reason"] and "chmod" in got["reason"]
    # Too many dead letters, in the middle.
    (w.directory / "logins" / "load.login").chmod(0o600)
    (w.data / "offer.ndjson").write_text("no event\n" * 2000)
    got, done = run(w, file, codes=(65,))
    assert "dead" in got["reason"]


def test_what_is_refused_before_the_start(make_weir, file, directory):
    w = make_weir(loans.pipeline())
    for options, code in ((["--until", "then"], 64), (["--wait", "x"], 64), (["--unheard"], 64), (["--only", "nobody"], 64),
                          (["--policy-root", "none"], 77), (["--policy-root", "none", "--policy-root", "none"], 64), (["a", "b"], 64)):
        got, done = run(w, file, *options, codes=(code,))
        assert got["error"] and got["error"] in done.stderr and not done.stdout, options
    w.file.write_text("pipeline: [\n")
    got, done = run(w, file, codes=(78,))
    assert "error" in got["error"] and not done.stdout
    w.file.unlink()
    got, _ = run(w, file, codes=(78,))
    assert str(w.file) in got["error"] and "WEIR_PIPELINE" in got["next"]
    # Words that are no text: the document is one all the same.
    odd = os.fsencode(w.directory) + b"/\xff\"\n\\" + b"\x01" * 300
    subprocess.run([BIN / "weir", "run", "--result-file", file, odd], env=w.env, cwd=w.directory, stderr=subprocess.DEVNULL)
    assert kept(file)["exit"] == 78 and "\ufffd\"\n\\\x01" in kept(file)["error"]
    # With -o json stdout has its document, too.
    got, done = run(w, file, "-o", "json", codes=(78,))
    assert json.loads(done.stdout)["error"]["message"] == got["error"]


def test_a_stop_in_the_middle(make_weir, file, postgres):
    """A database that is down is waited for; a stop ends that in order."""
    w = make_weir(loans.pipeline())
    events(w)
    w.apply()
    login = w.directory / "logins" / "load.login"
    login.write_text(login.read_text().replace("port='", "port='1"))
    for name in ("state", "task"):
        path = w.directory / "logins" / f"{name}.login"
        path.write_text(path.read_text().replace("port='", "port='1"))
    file.write_text("of before\n")
    process = subprocess.Popen([BIN / "weir", "run", "--wait", "120", "--result-file", file, w.file], env=w.env, cwd=w.directory,
                               stdout=subprocess.PIPE, stderr=open(w.log, "ab"), text=True)
    w.supervisors.append(process)
    wait_for("the supervisor", lambda: "status on" in w.log.read_text(), 30 * SLOW)
    assert file.read_bytes() == b""  # what it said before is gone as soon as it begins
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60 * SLOW)
    assert process.returncode == 75 and kept(file) == json.loads(out)
    assert "stopped by a signal" in kept(file)["reason"]
    got, _ = run(w, file, "--wait", "1", codes=(69,))
    assert got["exit"] == 69 and got["reason"]


def test_up_says_it_too(make_weir, file):
    w = make_weir(loans.pipeline(sources=loans.FOLLOW))
    events(w)
    w.apply()
    process = w.up("--result-file", file, "--instance", "me")
    assert file.read_bytes() == b""
    w.stop(process)
    got = kept(file)
    assert (got["pipeline"], got["instance"], got["exit"]) == ("loans", "me", 0) and "reason" not in got
    (w.directory / "logins" / "state.login").unlink()
    process = w.up("--result-file", file, ready=False)
    assert process.wait(30 * SLOW) == 78 and kept(file)["exit"] == 78 and "state.login" in kept(file)["reason"]


@pytest.mark.parametrize("sources, left_out", [(53, {"workers"}), (63, {"workers", "events", "rows"})])
def test_a_long_result_is_shortened(make_weir, file, sources, left_out):
    name = lambda n: f"source_{n:02}_" + "x" * 50
    text = "pipeline: long\nlanes: 1\ncorrelate:\n  by: id\n  folds:\n"
    text += "".join(f"    n{n}: {{ count: {name(n)} }}\n" for n in range(sources)) + "sources:\n"
    text += "".join(f"  {name(n)}:\n    file: {{ path: \"data/{n}.ndjson\" }}\n    format: json\n    time: at\n"
                    "    fields: { id: text, at: timestamp }\n" for n in range(sources))
    text += 'warehouse:\n  postgresql: { dsn: "${WEIR_DSN}", logins: "${WEIR_LOGINS}" }\ntables:\n  fact_long:\n    kind: fact\n'
    text += "    grain: process\n    key: id\n    columns: { n: n0 }\n"
    w = make_weir(text)
    for n in range(sources):
        (w.data / f"{n}.ndjson").write_text('{"id":"a","at":"2024-01-01T00:00:00Z"}\n')
    done = w.command("apply", "--result-file", file, w.file)
    assert kept(file)["outcome"] == "applied" and kept(file)["more"] > 0
    got, done = run(w, file)
    whole = json.loads(done.stdout)
    assert len(done.stdout) > MOST and set(whole) - set(got) == left_out
    assert {k: v for k, v in whole.items() if k in got} == got and got["processes"] == 1


# ---- apply ----
def test_apply(make_weir, file, connection, database):
    w = make_weir(loans.pipeline())
    apply = lambda *options, codes: (w.command("apply", "--result-file", file, *options, w.file, codes=codes), kept(file))
    done, got = apply(codes=(0,))
    assert got["outcome"] == "applied" and got["changes"] > 30 and got["exit"] == 0 and got["more"] + len(got["items"]) == got["changes"]
    assert all(item in done.stdout for item in got["items"])
    done, got = apply(codes=(0,))
    assert (got["outcome"], got["changes"], got["items"], got["more"]) == ("nothing", 0, [], 0)
    connection.execute("delete from admin_schema.migration where number > 0")
    w.file.write_text(loans.pipeline(name="other"))
    done, got = apply(codes=(78,))
    assert got["outcome"] == "refused" and got["refused"] == len(got["items"]) + got["more"] and got["refused"] > 1
    assert all(f"! {x}" in done.stdout for x in got["items"])
    done, got = apply("--nothing", codes=(64,))
    assert "nothing" in got["error"]
    w.env["WEIR_DSN"] = "host=127.0.0.1 port=1 dbname=x"
    done, got = apply(codes=(69,))
    assert got["exit"] == 69 and got["error"] in done.stderr


def test_apply_that_is_stopped(make_weir, file, connection):
    """It waits for another apply; a stop ends it, and says so."""
    w = make_weir(loans.pipeline())
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('weir apply'))")
        process = subprocess.Popen([BIN / "weir", "apply", "--result-file", file, w.file], env=w.env, cwd=w.directory)
        wait_for("the wait", lambda: connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
                                                        ).fetchone()[0], 20 * SLOW)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20 * SLOW) == -signal.SIGTERM
    assert kept(file) == {"error": "stopped by a signal", "exit": 128 + signal.SIGTERM}


def test_a_hand_over_that_cannot_be(make_weir, file):
    w = make_weir(loans.pipeline())
    for words, code in ((["run", "none"], 64), (["walk", "none"], 64), (["run"], 64)):
        w.command("handoff", *words, "--result-file", file, "--pipeline", w.file, codes=(code,))
        assert kept(file)["exit"] == code and kept(file)["error"]


def test_a_hand_over(directory, postgres, file):
    text = sealing.pipeline("handed", more=f"""handoffs:
  risk:
    query: "SELECT case_id, amount FROM raw_application"
    purpose: a model
    recipients: [ana]
    to: {directory}/out
""")
    (directory / "out").mkdir()
    (directory / "out").chmod(0o777)
    w = sealing.SealedWeir(directory / "w", text, postgres, "handed").set_up()
    sealing.write(w.data / "application-1.ndjson", [sealing.application(n) for n in range(5)])
    sealing.write(w.data / "call-1.ndjson", [])
    w.run()
    done = w.command("handoff", "run", "risk", "--result-file", file, w.file)
    assert kept(file) == json.loads(done.stdout) and kept(file)["result"]["rows"] == 5
    w.file.write_text(text.replace("amount FROM", "name FROM"))
    done = w.command("handoff", "run", "risk", "--result-file", file, w.file, codes=(77,))
    assert kept(file) == json.loads(done.stdout) and kept(file)["reason"]
    w.teardown()


# ---- the place ----
def test_a_file_that_cannot_be_written(make_weir, directory):
    """Said at once, before anything is done."""
    w = make_weir(loans.pipeline())
    os.mkfifo(directory / "pipe")
    for path in (directory / "none" / "result", directory, directory / "pipe"):
        started = time.monotonic()
        done = w.command("apply", "--result-file", path, w.file, codes=(64,), timeout=20)
        assert "cannot write the result file" in done.stderr and time.monotonic() - started < 10 * SLOW
    assert w.command("plan", w.file).returncode == 0  # nothing was applied


def test_the_name_is_taken_when_the_line_is_whole(make_weir, directory, file):
    w = make_weir(loans.pipeline())
    events(w)
    w.apply()
    file.write_text("of before")
    file.chmod(0o640)
    before = file.stat().st_ino
    run(w, file)
    assert file.stat().st_ino != before and stat.S_IMODE(file.stat().st_mode) == 0o640
    assert not list(directory.glob("result.*")) and not list(directory.glob(".result*"))
    # Another's file beside it is left alone.
    other = directory / "result.new"
    other.write_text("somebody's")
    run(w, file)
    assert other.read_text() == "somebody's"
    # By a link, and where there is no file to be put in a place: as it is.
    link = directory / "link"
    link.symlink_to("result")
    run(w, link)
    assert link.is_symlink()
    done = w.command("run", "--result-file", "/dev/stderr", w.file)
    assert json.loads(done.stdout) in [json.loads(x) for x in done.stderr.splitlines() if x.startswith("{")]


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone mounts, and makes files of others")
def test_a_file_that_is_mounted(make_weir, directory, file):
    """As /dev/termination-log is: a file mounted by itself, in a directory that nobody can write to."""
    w = make_weir(loans.pipeline())
    place = directory / "dev"
    place.mkdir()
    place.chmod(0o555)
    log, source = place / "termination-log", directory / "source"
    log.touch()
    source.write_text("")
    source.chmod(0o666)
    if subprocess.run(["mount", "--bind", source, log], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        for user in ({}, {"user": UID, "group": GID, "extra_groups": []}):
            done = subprocess.run([BIN / "weir", "apply", "--result-file", log, w.file], env=w.env, cwd=w.directory, text=True,
                                  capture_output=True, timeout=60 * SLOW, **user)
            assert kept(log) == kept(source) and kept(log)["exit"] == done.returncode
            with contextlib.suppress(FileNotFoundError):
                for path in (w.directory / "logins").iterdir():
                    path.chmod(0o600)
        assert sorted(p.name for p in place.iterdir()) == ["termination-log"]
    finally:
        subprocess.run(["umount", log], check=True)
