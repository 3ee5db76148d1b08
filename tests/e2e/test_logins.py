"""Login files: made without a database, kept by apply, which gives the logins what stands in them."""

import os
import pathlib
import stat
import subprocess

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import loans
import sealing
from weir import BIN

UID, GID = 64100, 64200  # those of the image
PLAIN = {"load", "state", "task", "operator"}
SEALED = PLAIN | {"keeper", "release"}


def words(path):
    return conninfo_to_dict(path.read_text().strip())


def contents(directory):
    return {p.name: p.read_bytes() for p in pathlib.Path(directory).iterdir()}


def logged_in(path):
    with psycopg.connect(path.read_text()) as c:
        return c.execute("SELECT current_user").fetchone()[0]


@pytest.mark.parametrize("sealed", [False, True])
def test_files_are_made_without_a_database(make_weir, sealed, directory):
    """Nobody listens there: host, port, database and TLS come from the owner's DSN, its user and password do not."""
    w = make_weir(sealing.pipeline() if sealed else loans.pipeline(),
                  dsn="postgresql://boss:pa%27ss%20word@db.example:6543/ware%20%27house?sslmode=verify-full&sslrootcert=/etc/ca.pem&application_name=x")
    logins = w.directory / "logins"
    done = w.json("logins", "init", w.file)
    assert {pathlib.Path(p).stem for p in done["made"]} == (SEALED if sealed else PLAIN) and done["kept"] == []
    assert stat.S_IMODE(logins.stat().st_mode) == 0o700
    passwords = set()
    for path in logins.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        got = words(path)
        password = got.pop("password")
        passwords.add(password)
        assert len(password) == 48 and set(password) <= set("0123456789abcdef")
        assert got.pop("user") == f"weir_loans_{path.stem}"
        assert (got["host"], got["port"], got["dbname"]) == ("db.example", "6543", "ware 'house")
        assert (got["sslmode"], got["sslrootcert"]) == ("verify-full", "/etc/ca.pem")
        assert "application_name" not in got and "boss" not in path.read_text() and "pa'ss" not in path.read_text()
    assert len(passwords) == len(SEALED if sealed else PLAIN)
    # Again: all are kept, byte for byte; one that was lost is made anew, alone; no password is told.
    before = contents(logins)
    again = w.command("logins", "init", w.file)
    assert contents(logins) == before and again.stdout.count("kept ") == len(before) and "made /" not in again.stdout
    (logins / "load.login").unlink()
    again = w.command("logins", "init", w.file)
    after = contents(logins)
    assert [n for n in before if after[n] != before[n]] == ["load.login"]
    assert not any(p in again.stdout + again.stderr for p in passwords | {words(logins / "load.login")["password"]})
    # Elsewhere; and the place that the pipeline file names is left alone.
    w.command("logins", "init", w.file, "--to", directory / "else")
    assert set(contents(directory / "else")) == set(after) and contents(logins) == after
    assert stat.S_IMODE((directory / "else").stat().st_mode) == 0o700


def test_the_address_may_be_given(make_weir, directory):
    """Where workers find the warehouse is not always where the owner does; and the owner's file need not be here."""
    w = make_weir(loans.pipeline().replace("${WEIR_DSN}", f"file:{directory}/nowhere"))
    assert "--at" in w.command("logins", "init", w.file, codes=(78,)).stderr
    w.command("logins", "init", w.file, "--at", "host=pg.inside port=5433 dbname=x sslmode=require")
    got = words(w.directory / "logins" / "state.login")
    assert (got["host"], got["port"], got["dbname"], got["sslmode"]) == ("pg.inside", "5433", "x", "require")
    for at, code, said in (("host=h dbname=d password=secretword", 64, "change it"), ("postgresql://u:secretword@h/d", 64, "change it"),
                           ("host=h port=1", 78, "no database"), ("host=h dbname", 78, "no connection string"),
                           ("service=x dbname=d", 78, "service")):
        done = w.command("logins", "init", w.file, "--to", directory / "none", "--at", at, codes=(code,))
        assert said in done.stderr and "secretword" not in done.stderr and not list((directory / "none").glob("*")), at
    assert "logins init" in w.command("logins", "make", w.file, codes=(64,)).stderr


def test_the_environment_of_libpq_counts_as_when_connecting(make_weir):
    w = make_weir(loans.pipeline(), dsn="user=boss password=p")
    w.command("logins", "init", w.file, env={"PGHOST": "from.env", "PGPORT": "7777", "PGSSLMODE": "require"})
    got = words(w.directory / "logins" / "load.login")
    assert (got["host"], got["port"], got["dbname"], got["sslmode"]) == ("from.env", "7777", "boss", "require")


def test_apply_gives_logins_the_passwords_of_their_files(make_weir, connection):
    w = make_weir(loans.pipeline("given"))
    w.command("logins", "init", w.file)
    logins = w.directory / "logins"
    before = contents(logins)
    plan = w.command("plan", "--sql", w.file)
    assert plan.stdout.count("with the password that stands in") == 4
    done = w.command("apply", w.file)
    assert contents(logins) == before
    for path in logins.iterdir():
        assert logged_in(path) == f"weir_given_{path.stem}"
        assert words(path)["password"] not in plan.stdout + done.stdout + done.stderr
    assert w.command("plan", w.file, codes=(99,)) and w.json("check", w.file)["outcome"] == "good"
    # A file with another password: the login gets it, whoever wrote the file, as a URL too.
    (logins / "load.login").write_text((logins / "load.login").read_text().replace("password='", "password='0"))
    parts = words(logins / "task.login")
    (logins / "task.login").write_text("postgresql://weir_given_task:by%20hand%27@/{dbname}?host={host}&port={port}\n".format(**parts))
    changed = contents(logins)
    lines = [line for line in w.command("plan", w.file).stdout.splitlines() if line.lstrip().startswith("~")]
    assert len(lines) == 2 and all("gets the password that stands in" in x for x in lines), lines
    w.apply()
    assert contents(logins) == changed
    assert [logged_in(logins / f"{n}.login") for n in ("load", "task")] == ["weir_given_load", "weir_given_task"]
    assert w.command("plan", w.file, codes=(99,))


def test_files_that_cannot_be_meant(make_weir, connection):
    w = make_weir(loans.pipeline("meant"))
    w.command("logins", "init", w.file)
    path = w.directory / "logins" / "load.login"
    good = path.read_text()
    # Of another login: neither init nor apply touches it, nor does a name in a comment of it count.
    path.write_text(good.replace("weir_meant_load", "weir_other_load") + " application_name='user=\\'weir_meant_load\\''\n")
    for verb in (("apply",), ("logins", "init")):
        done = w.command(*verb, w.file, codes=(78,))
        assert "file of another login" in done.stdout + done.stderr
    # Without a password, where the role is to be made.
    path.write_text(make_conninfo(**{k: v for k, v in words_of(good).items() if k != "password"}))
    assert "has no password" in w.command("apply", w.file, codes=(78,)).stdout
    for text in ("", "nonsense", "postgresql://"):
        path.write_text(text)
        assert w.command("apply", w.file, codes=(78,)).returncode == 78
    path.write_text(good)
    path.chmod(0o644)
    for verb in (("apply",), ("logins", "init")):
        assert "chmod 600" in w.command(*verb, w.file, codes=(77,)).stderr
    path.chmod(0o600)
    assert connection.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'weir_meant_%'").fetchone() == (0,)
    w.apply()
    assert logged_in(path) == "weir_meant_load"
    # A role that is there, and a server that wants a password.
    path.write_text(make_conninfo(**{k: v for k, v in words_of(good).items() if k != "password"}))
    assert "has no password" in w.command("apply", w.file, codes=(78,)).stdout


def test_files_that_lead_elsewhere_are_named(make_weir, connection):
    w = make_weir(loans.pipeline("astray"))
    w.apply()
    assert "leads elsewhere" not in w.command("plan", w.file, codes=(99,)).stdout
    path = w.directory / "logins" / "state.login"
    good = words(path)
    owner = {k: v for k, v in good.items() if k in ("host", "port", "dbname")}
    # Another database, one that is not there, and another way to the same one: said each time, and the password stays.
    for word, value in (("dbname", "postgres"), ("dbname", "nowhere"), ("port", "1"), ("host", "nowhere.invalid")):
        path.write_text(make_conninfo(**{**good, word: value}))
        plan = w.command("plan", w.file, codes=(99,)).stdout
        assert f'state.login leads elsewhere than the owner\'s connection: {word} "{value}" (the owner\'s: "{owner[word]}");' in plan, plan
        assert plan.count("leads elsewhere") == 1 and good["password"] not in plan
        assert w.json("plan", w.file, codes=(99,))["changes"] == 0
        assert f'{word} "{value}"' in w.command("apply", w.file).stdout


def words_of(text):
    return conninfo_to_dict(text.strip())


@pytest.mark.skipif(os.geteuid() != 0, reason="files of root's for a group are made by root alone")
def test_apply_with_files_that_it_can_only_read(make_weir, connection):
    """As in a Job of Kubernetes: not root, files by links, root's and its group's, in a directory that nobody writes to."""
    w = make_weir(loans.pipeline("mounted", more="rid_key: file:keys/rid.key\n"))
    made, logins = w.directory / "made", w.directory / "logins"
    w.command("logins", "init", w.file, "--to", made)
    (logins / "..1").mkdir(parents=True)
    (logins / "..data").symlink_to("..1")
    for path in made.iterdir():
        copy = logins / "..1" / path.name
        copy.write_bytes(path.read_bytes())
        os.chown(copy, 0, GID)
        copy.chmod(0o440)
        (logins / path.name).symlink_to(f"..data/{path.name}")
    (w.directory / "keys").mkdir(mode=0o755)
    for place in (logins, logins / "..1"):
        place.chmod(0o755)
    w.run_dir.chmod(0o777)
    before = contents(logins / "..1")

    def as_user(*args):
        return subprocess.run([BIN / "weir", *map(str, args)], env=w.env, cwd=w.directory, text=True, capture_output=True, timeout=120,
                              user=UID, group=GID, extra_groups=[])

    done = as_user("apply", w.file)
    assert done.returncode == 0, done.stderr
    # The key of queue identities is another workload's: noted, and not made here.
    assert "no key of queue identities here" in done.stdout and not list((w.directory / "keys").iterdir())
    assert contents(logins / "..1") == before and not list(logins.glob("*.new"))
    for path in made.iterdir():
        assert logged_in(path) == f"weir_mounted_{path.stem}"
    assert as_user("plan", w.file).returncode == 99
    # One file is not there: nothing can be written, so nothing is done.
    (logins / "load.login").unlink()
    done = as_user("apply", w.file)
    assert done.returncode == 77 and "nothing was changed" in done.stderr, done.stderr
    assert logged_in(made / "load.login") == "weir_mounted_load"


# ---- the key of queue identities ----
QUEUE = {"offer": 'rabbitmq: { url: "amqp://guest:guest@127.0.0.1:1/", queue: loans.offer, identity: message-id }'}


def test_the_key_of_queue_identities_alone(make_weir):
    w = make_weir(loans.pipeline("ridden", more="rid_key: file:keys/rid.key\n", sources=QUEUE))
    key = w.directory / "keys" / "rid.key"
    w.command("keys", "rid", w.file)
    first = key.read_bytes()
    assert len(first) == 32 and len(set(first)) > 8 and stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert "never overwritten" in w.command("keys", "rid", w.file, codes=(78,)).stderr
    assert not any("queue identities" in x for x in w.command("plan", w.file).stdout.splitlines())
    w.apply()
    assert key.read_bytes() == first
    plain = make_weir(loans.pipeline(), name="plain")
    assert "no rid_key" in plain.command("keys", "rid", plain.file, codes=(78,)).stderr


@pytest.mark.parametrize("there", [False, True])
def test_keys_init_makes_it_too(directory, postgres, there):
    w = sealing.SealedWeir(directory / "w", sealing.pipeline("ridden", more="rid_key: file:keys/rid.key\n"), postgres, f"rid{int(there)}")
    key = w.keys / "rid.key"
    if there:
        w.keys.mkdir(mode=0o700)
        key.touch(0o600)
        key.write_bytes(b"k" * 32)
    said = w.keys_command("init", "--member", "ana", "--kdf-memory", 1, yes=False).stdout
    assert f"{'kept' if there else 'made'} {key}" in said
    assert len(key.read_bytes()) == 32 and (key.read_bytes() == b"k" * 32) == there
    w.sign()
    w.apply()
