"""Events of dead letters that the warehouse's administrator puts into each other's place: neither opens."""

import json
import os

import pytest

import sealing
from sealing import application, write
from test_keys import PURPOSE, Keys


@pytest.fixture
def letters(directory, postgres):
    w = Keys(directory / "w", sealing.pipeline("moved"), postgres, f"moved_{os.urandom(4).hex()}")
    w.set_up()
    write(w.data / "application.ndjson", [json.dumps(application(n, income="a lot")) for n in (40, 41)])
    w.run(codes=(1,))
    yield w
    w.teardown()


def opened(w, rid, codes=(0,)):
    return w.command("dead", "open", rid, "--pipeline", w.file, "--member-key", w.member_key, "--passphrase-file", w.passphrase,
                     "--purpose", PURPOSE, codes=codes)


@pytest.mark.parametrize("columns", ["body", "body, sid"])
def test_events_of_two_dead_letters_exchanged(letters, columns):
    first, second = sorted(r["rid"] for r in letters.json("dead", "list", letters.file))
    assert {json.loads(opened(letters, r).stdout)["case_id"] for r in (first, second)} == {"L00040", "L00041"}
    taken = ", ".join(f"o.{c}" for c in columns.split(", "))
    with letters.superuser() as c:
        c.execute(f"UPDATE admin_schema.dead_letter d SET ({columns}) = (SELECT {taken} FROM admin_schema.dead_letter o WHERE o.rid <> d.rid)")
    for rid in (first, second):
        done = opened(letters, rid, codes=None)
        assert done.returncode != 0 and "(auth)" in done.stderr and "a lot" not in done.stdout
