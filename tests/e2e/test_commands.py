"""The verbs as a person and a script meet them: plan and apply with their refusals and repairs, explain, dead, status,
demo; exit codes, and one JSON document on stdout."""

import json
import os
import pathlib
import re
import stat
import subprocess

import psycopg
import pytest

import loans
from weir import ASAN, BIN, SLOW

LOANS = loans.pipeline()


OTHER = {"case_id": "other", "seq": 9, "activity": "x", "transition": "y", "at": "2024-01-01T00:00:00Z"}


@pytest.fixture
def applied(make_weir):
    w = make_weir(LOANS)
    w.apply()
    return w


def fill(w, application):
    """Its lines, and one event in each of the other streams."""
    (w.data / "application.ndjson").write_text("".join(line + "\n" for line in application))
    for stream in ("offer", "workitem"):
        loans.write(w.data / f"{stream}.ndjson", [OTHER])


def marks(done):
    """{mark: [words]} of what plan or apply printed."""
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith("  ") and line[3:4] == " ":
            found.setdefault(line[2], []).append(line[4:])
    return found


# ---- plan and apply ----

def test_plan_changes_nothing_and_apply_twice_changes_nothing(make_weir, connection):
    w = make_weir(LOANS)
    first = w.command("plan", w.file, codes=(0,))
    assert connection.execute("select to_regnamespace('admin_schema')").fetchone() == (None,)
    assert not (w.directory / "logins").exists()
    done = w.command("apply", w.file)
    assert done.stdout == first.stdout
    again = w.command("apply", w.file)
    assert again.stdout == "" and "nothing to do" in again.stderr
    assert w.command("plan", w.file, codes=(99,)).stdout == ""
    assert w.json("plan", w.file, codes=(99,))["outcome"] == "nothing"
    assert w.json("apply", w.file)["outcome"] == "nothing"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_of_another_encoding_is_refused(make_weir, postgres, encoding):
    name = f"encoding_{encoding.lower()}"
    postgres.sql(f"CREATE DATABASE {name} OWNER {postgres.OWNER} TEMPLATE template0 ENCODING '{encoding}'")
    w = make_weir(LOANS, dsn=postgres.dsn(name))
    for verb in ("plan", "apply"):
        done = w.command(verb, w.file, codes=(78,))
        assert f"has the encoding {encoding}; Weir needs UTF8" in done.stderr
    assert postgres.sql("select to_regnamespace('admin_schema') is null", name) == "t\n"
    assert not (w.directory / "logins").exists()


def test_lines_for_the_administrator_can_be_typed(make_weir, postgres):
    postgres.sql("CREATE ROLE \"poor owner\" LOGIN PASSWORD 'poor'")
    postgres.sql('CREATE DATABASE "poor house"')
    w = make_weir(LOANS, dsn=re.sub("//.*@", "//poor%20owner:poor@", postgres.dsn("poor%20house")))
    words = marks(w.command("plan", w.file, codes=(78,)))["!"]
    lines = [x.split("as administrator: ", 1)[1] for x in words if "as administrator: " in x]
    assert len(lines) == 2 and not any("<" in x for x in words), words
    for line in lines:
        postgres.sql(line, "poor house")
    w.apply()


def test_plan_shows_the_sql_that_apply_runs(make_weir, connection):
    """What --sql prints, run by hand, leaves only logins and what hangs on them."""
    w = make_weir(LOANS)
    plan = w.json("plan", w.file)
    for item in plan["items"]:
        if "sql" in item and not item["what"].startswith("login"):
            if "grant" not in item["what"] and "row by row" not in item["what"]:
                connection.execute(item["sql"].encode())
    left = w.json("plan", w.file)["items"]
    assert all("login" in i["what"] or "grant" in i["what"] or i["mark"] == "i" for i in left), left


@pytest.mark.parametrize("old, new, says", [
    ("pipeline: loans\n", "pipeline: loans\ngroups: 64\n", "128 key groups"),
    ("by: case_id", "by: activity", 'created with "case_id"'),
    ("      amount_requested: amount\n", '      amount_requested: "cast(amount as text)"\n',
     "--allow-destructive fact_loan.amount_requested"),
    ("    grain: process\n    key: case_id", "    grain: process\n    key: loan_id", "key"),
])
def test_refused(applied, connection, old, new, says):
    w = applied
    assert old in LOANS
    # Something harmless beside it: nothing of a refused plan is applied.
    w.file.write_text(LOANS.replace(old, new).replace("      offers_sent:      offers_sent\n",
                                                      "      offers_sent:      offers_sent\n      extra: work_done\n"))
    plan = w.command("plan", w.file, codes=(78,))
    assert any(says in line for line in marks(plan)["!"]), plan.stdout
    apply = w.command("apply", w.file, codes=(78,))
    assert marks(apply)["!"] == marks(plan)["!"] and "nothing was done" in apply.stderr
    assert w.json("apply", w.file, codes=(78,))["outcome"] == "refused"
    assert connection.execute("select count(*) from pg_attribute where attname = 'extra'").fetchone() == (0,)


def test_destructive_by_name(applied, connection):
    w = applied
    connection.execute("insert into analytical_schema.fact_loan (case_id, amount_requested, status, events, revision)"
                       " values ('1', 12.50, 'open', 1, 1)")
    w.file.write_text(LOANS.replace("      amount_requested: amount\n",
                                    '      amount_requested: "cast(amount as text)"\n')
                      .replace("      work_items:       work_done\n", ""))
    done = w.command("apply", w.file, "--allow-destructive", "analytical_schema.fact_loan.amount_requested",
                     "--allow-destructive=fact_loan.work_items")
    assert any("work_items" in line for line in marks(done)["-"])
    assert connection.execute("select amount_requested from analytical_schema.fact_loan").fetchone() == ("12.50",)
    # A table that left the file stays until it is named.
    w.file.write_text(LOANS[:LOANS.index("  fact_work:")])
    kept = w.command("plan", w.file, "--allow-destructive", "fact_loan.amount_requested", codes=(0,))
    assert any("fact_work" in line for line in marks(kept)["i"])
    w.command("apply", w.file, "--allow-destructive", "fact_loan.amount_requested", "--allow-destructive", "fact_work")
    assert connection.execute("select to_regclass('analytical_schema.fact_work')").fetchone() == (None,)


def test_tables_of_others_are_left_alone(make_weir, connection):
    w = make_weir(LOANS)
    w.apply()
    other = make_weir(LOANS.replace("pipeline: loans", "pipeline: other"), name="b")
    refused = marks(other.command("plan", other.file, codes=(78,)))["!"]
    assert any("fact_loan belongs to pipeline loans" in line for line in refused), refused
    assert not any("dim_date" in line for line in refused)  # a calendar has the same days for everyone
    connection.execute("create table analytical_schema.fact_mine (a int)")
    w.file.write_text(LOANS.replace("  fact_work:", "  fact_mine:"))
    assert "was not made by Weir" in w.command("plan", w.file, codes=(78,)).stdout


def test_logins_are_kept_repaired_and_private(applied):
    w = applied
    files = {p.name: p for p in (w.directory / "logins").iterdir()}
    assert set(files) == {"load.login", "state.login", "task.login", "operator.login"}
    assert stat.S_IMODE((w.directory / "logins").stat().st_mode) == 0o700
    before = {name: p.read_text() for name, p in files.items()}
    assert len(set(before.values())) == 4
    files["load.login"].unlink()
    files["task.login"].write_text(before["task.login"].replace("password='", "password='0"))
    lines = marks(w.command("apply", w.file))["~"]
    assert len(lines) == 2, lines
    for name, p in files.items():
        assert stat.S_IMODE(p.stat().st_mode) == 0o600
        assert (p.read_text() == before[name]) == (name in ("state.login", "operator.login"))
        assert name != "task.login" or p.read_text() == before[name].replace("password='", "password='0")  # the file is the truth
        with psycopg.connect(p.read_text()) as c:
            assert c.execute("select current_user").fetchone()[0] == "weir_loans_" + p.stem
    assert not list((w.directory / "logins").glob("*.new"))
    # Another pipeline's file in this place is not overwritten.
    files["load.login"].write_text(before["load.login"].replace("weir_loans_load", "weir_other_load"))
    assert "file of another login" in w.command("apply", w.file, codes=(78,)).stdout


def test_no_password_reaches_the_server_log_or_the_plan(make_weir, connection):
    w = make_weir(LOANS)
    plan = w.command("plan", "--sql", w.file).stdout
    done = w.command("apply", "--sql", w.file)
    for p in (w.directory / "logins").iterdir():
        secret = p.read_text().rsplit("password='", 1)[1].split("'")[0]
        assert len(secret) >= 32 and secret not in plan + done.stdout + done.stderr
    key = connection.execute("select encode(hash_key, 'hex') from admin_schema.pipeline").fetchone()[0]
    assert len(set(key)) > 4 and key not in plan + done.stdout


def test_a_migration_that_was_changed_is_refused(applied, connection):
    connection.execute("update admin_schema.migration set digest = 'x' where number = 1")
    assert "migration 1" in applied.command("plan", applied.file, codes=(78,)).stdout
    connection.execute("delete from admin_schema.migration")
    connection.execute("insert into admin_schema.migration values (99, 'future', 'x', now(), '9.9')")
    assert "newer Weir" in applied.command("plan", applied.file, codes=(78,)).stdout


def test_the_key_of_queue_identities_is_made_once(make_weir):
    queue = '{ url: "amqp://guest:guest@127.0.0.1:1/", queue: loans.offer, identity: message-id }'
    w = make_weir(loans.pipeline(more="rid_key: file:rid.key\n", sources={"offer": f"rabbitmq: {queue}"}))
    assert any("rid.key" in line for line in marks(w.command("plan", w.file))["+"])
    w.apply()
    key = w.directory / "rid.key"
    first = key.read_bytes()
    assert len(first) == 32 and len(set(first)) > 8 and stat.S_IMODE(key.stat().st_mode) == 0o600
    w.apply()
    assert key.read_bytes() == first
    key.write_bytes(b"short")
    assert "5 bytes" in w.command("apply", w.file, codes=(78,)).stderr


def test_members_and_days(applied, connection):
    members = "select resource_key, resource from analytical_schema.dim_resource order by 1"
    assert connection.execute(members).fetchall() == [(-2, "(invalid)"), (-1, "(unknown)")]
    days = connection.execute("select date_key, date, weekday_name, iso_week, year_quarter, is_weekend"
                              " from analytical_schema.dim_date where date_key in (20161231, 20170102) order by 1")
    rows = [(r[0], str(r[1]), *r[2:]) for r in days.fetchall()]
    assert rows == [(20161231, "2016-12-31", "Saturday", 52, "2016-Q4", True),
                    (20170102, "2017-01-02", "Monday", 1, "2017-Q1", False)]
    assert connection.execute("select count(*) from analytical_schema.dim_date where date_key < 0").fetchone() == (2,)
    applied.file.write_text(LOANS.replace("to: 2030-12-31", "to: 2031-12-31"))
    assert any("365 days" in line for line in marks(applied.command("apply", applied.file))["+"])


def test_dependency_down_and_wrong(make_weir):
    w = make_weir(LOANS)
    down = w.command("plan", w.file, "-o", "json", env={"WEIR_DSN": "postgresql://owner@127.0.0.1:1/x"}, codes=(69,))
    error = json.loads(down.stdout)["error"]
    assert error["code"] == 69 and "127.0.0.1" in error["message"] and error["next"]
    wrong = w.command("apply", w.file, env={"WEIR_DSN": w.dsn.replace("owner:", "owner:x")}, codes=(77,))
    assert "next:" in wrong.stderr
    for secret in (w.dsn, w.dsn.split("@")[0].rsplit(":", 1)[1]):
        assert secret not in wrong.stderr + down.stderr


# ---- explain, dead, status ----

def test_explain(applied):
    w = applied
    assert "nothing" not in w.command("explain", "1", w.file, codes=(99,)).stdout
    fill(w, map(json.dumps, [
        {"case_id": "7", "seq": 0, "activity": "A_SUBMITTED", "transition": "COMPLETE", "at": "2024-01-01T00:00:00Z",
         "resource": "r", "amount_requested": 12.5},
        {"case_id": "7", "seq": 1, "activity": "A_APPROVED", "transition": "COMPLETE", "at": "2024-01-02T00:00:00Z"}]))
    w.run()
    data = w.json("explain", "7", w.file)
    assert data["status"] == "open" and data["missing"] == ["offer"] and data["sources_seen"] == ["application"]
    assert data["due_at"] == "2024-03-31T00:00:00Z" and data["folds"]["amount"] == "12.5"
    assert data["folds"]["approved"] is True and data["folds"]["offers_sent"] == 0
    text = w.command("explain", "7", w.file).stdout
    for words in ("is open", "offer", "90d after the first event", "12.5", "not offer"):
        assert words in text, text
    # By option, by environment, in any order.
    assert w.json("explain", "--pipeline", w.file, "7") == data
    assert w.json("explain", "7", env={"WEIR_PIPELINE": str(w.file)}) == data
    for log in (w.log,):
        assert "12.5" not in log.read_text()


def test_dead(applied):
    w = applied
    assert w.json("dead", "list", w.file, codes=(99,)) == []
    fill(w, ["secret-value", '{"case_id":1}'])
    w.run(codes=(1,))
    letters = w.json("dead", "list", w.file)
    assert [x["position"] for x in sorted(letters, key=lambda x: x["position"])] == [0, 1]
    shown = w.command("dead", "show", letters[0]["rid"][:8], w.file)
    assert "not stored" in shown.stdout and "digest" in shown.stdout and "secret-value" not in shown.stdout
    assert w.json("dead", "show", letters[0]["rid"], w.file) == letters[0]
    assert sum(x["count"] for x in w.json("dead", "list", "--reasons", w.file)) == 2
    assert w.json("dead", "list", "--source", "offer", w.file, codes=(99,)) == []
    assert w.json("dead", "list", "--reasons", "--source", "offer", w.file, codes=(99,)) == []
    assert sum(x["count"] for x in w.json("dead", "list", "--reasons", "--source", "application", w.file)) == 2
    for option in ([], ["--reasons"]):
        unknown = w.command("dead", "list", *option, "--source", "aplication", w.file, codes=(64,))
        assert "its sources are application, offer, workitem" in unknown.stderr
    assert "line = position + 1" in shown.stdout
    assert len(w.json("dead", "list", "-n", "1", w.file)) == 1
    w.command("dead", "show", "ffffffff", w.file, codes=(99,))
    for bad in (["show"], ["lst"], ["show", "zz"], ["list", "--limit", "many"], ["list", "a", "b"]):
        w.command("dead", *bad, codes=(64,))


def test_status(applied):
    w = applied
    assert not w.json("status", w.file, codes=(99,))["running"]
    w.file.write_text(loans.pipeline(sources=loans.FOLLOW))
    fill(w, [json.dumps(OTHER)])
    process = w.up()
    data = w.json("status", "--url", w.url(process), w.file)
    assert data["running"] and data["ready"] and data["status"]["pipeline"] == "loans"
    assert {s["source"] for s in data["database"]["sources"]} == set(loans.STREAMS)
    text = w.command("status", "--url", w.url(process), w.file).stdout
    for words in ("RUNNING", "fact_loan", "ingest", "held by"):
        assert words in text, text
    assert ("seccomp: on, but ptrace is allowed: sanitizer build" in text) == ASAN, text
    assert w.json("status", "--no-database", "--url", w.url(process))["database"] is None
    elsewhere = w.command("status", "--url", w.url(process), w.file, env={"WEIR_DSN": "file:/nowhere/dsn"})  # as in a pod
    assert "RUNNING" in elsewhere.stdout and "was not asked" in elsewhere.stderr and "mend" not in elsewhere.stderr
    w.stop(process)
    ended = w.json("status", w.file, codes=(99,))
    assert not ended["running"] and ended["database"]["instance"]["released"]
    assert ended["database"]["instance"]["heartbeat_age_seconds"] is None


@pytest.mark.parametrize("code, dsn", [
    (77, lambda dsn: dsn.replace("owner:", "owner:x")),
    (69, lambda dsn: "postgresql://owner@127.0.0.1:1/x"),
    (78, lambda dsn: re.sub(r"@/[^?]*", "@/nowhere", dsn)),
    (78, lambda dsn: "nonsense"),
])
def test_status_without_a_database_says_so(make_weir, code, dsn):
    """As plan does: what cannot be asked is not known to be stopped. A name that no other supervisor here has."""
    w = make_weir(LOANS.replace("pipeline: loans", "pipeline: unasked"))
    env = {"WEIR_DSN": dsn(w.dsn)}
    w.command("plan", w.file, env=env, codes=(code,))
    done = w.command("status", w.file, env=env, codes=(code,))
    assert "could not be asked" in done.stderr and "not running" not in done.stderr
    assert w.json("status", w.file, env=env, codes=(code,))["database"] is None


def test_an_integer_id_is_asked_for_as_one(make_weir):
    w = make_weir(re.sub(r"case_id: +text", "case_id: integer", LOANS))
    w.apply()
    for id in ("abc", "007", "1.0", "99999999999999999999"):
        assert "is an integer" in w.command("explain", id, w.file, codes=(64,)).stderr
    for id in ("7", "-7"):
        w.command("explain", "--", id, w.file, codes=(99,))


# ---- manners ----

def test_usage():
    def weir(*words):
        return subprocess.run([BIN / "weir", *words], capture_output=True, text=True)
    for words, says in ((["aply"], "apply"), (["plan", "--alow-destructive", "x"], "--allow-destructive"),
                        (["explain"], "operand is missing"), (["run", "--until", "later"], "now"),
                        (["run", "--wait", "soon"], "soon"), ([], "verb"), (["up", "-o", "xml"], "xml")):
        done = weir(*words)
        assert done.returncode == 64 and says in done.stderr and not done.stdout, (words, done)
    assert json.loads(weir("version", "-o", "json").stdout)["version"]
    verbs = {v["verb"] for v in json.loads(weir("-o", "json", "help").stdout)["verbs"]}
    assert {"validate", "plan", "apply", "up", "run", "status", "explain", "dead", "demo"} <= verbs
    for verb in verbs:
        assert weir(verb, "--help").returncode == 0
    missing = weir("validate", "/nowhere.yaml", "-o", "json")
    assert missing.returncode == 78 and json.loads(missing.stdout)["error"]["code"] == 78


def test_validate_as_json(make_weir):
    w = make_weir(LOANS.replace("grain: process", "grian: process"))
    done = w.command("validate", w.file, "-o", "json", codes=(78,))
    data = json.loads(done.stdout)
    assert not data["valid"] and any("grain" in json.dumps(e) for e in data["errors"])
    assert all({"line", "column", "message"} <= set(e) for e in data["errors"])
    assert "^" in done.stderr


def test_full_output_is_said(make_weir):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BIN / "weir", "help", "--reference"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 69 and "cannot write" in done.stderr


def test_demo(directory):
    """Ends by itself, everything arrived, nothing left behind."""
    root = pathlib.Path(__file__).resolve().parents[2]
    done = subprocess.run([BIN / "weir", "demo", "-o", "json"], cwd=root, capture_output=True, text=True,
                          timeout=120 * SLOW, env={**os.environ, "TMPDIR": str(directory.parent)})
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["events"] == sum(data["written"].values()) > 10000
    assert data["dead_letters"] == data["broken"] >= 7 and data["open"] > 0 and data["complete"] > 0
    # Four people really logged in: groups, a row with tokens, opened values, and nothing.
    views = data["views"].split("(logs in as ")[1:]
    assert [v.split(")")[0] for v in views] == ["demo_business", "demo_analyst", "demo_scientist", "demo_operator"]
    assert [v.count("permission denied") for v in views] == [1, 1, 0, 2]
    assert re.search(r"\n +\d+,[\d.]+,\d*\n", views[2]) and "1 audit row" in views[2], views[2]
    assert not list(directory.parent.glob("weir-demo-*"))
