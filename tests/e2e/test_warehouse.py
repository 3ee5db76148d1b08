"""The star schema as its users meet it: kinds of tables, members, keys, comments, who may do what; plan and apply."""

import os
import pathlib
import stat

import psycopg
import pytest

import loans
from ports import wait_for
from weir import BIN, SLOW

PRODUCTS = """
pipeline: shop
lanes: 2
correlate:
  by: order_id
  folds:
    product: { first: order.product }
    ordered: { min: order.at }
    total:   { sum: order.price }
  quiet_for: 1h
sources:
  order:
    file: { path: "data/order*.ndjson" }
    format: json
    time: at
    fields: { order_id: integer, product: text, price: decimal, at: timestamp }
  product:
    file: { path: "data/product*.ndjson" }
    format: json
    time: at
    reference: product
    fields: { product: text, title: text, weight: decimal, at: timestamp }
warehouse:
  postgresql: { dsn: "${WEIR_DSN}", logins: "${WEIR_LOGINS}" }
tables:
  dim_day: { kind: calendar, from: 2024-01-01, to: 2024-12-31 }
  dim_product:
    kind: dimension
    key: product
    from: product
    comment: What is sold
    columns: { title: title, weight: weight }
  fact_order:
    kind: fact
    grain: process
    key: order_id
    columns: { total: { expr: total, comment: Sum of the prices } }
    references: { dim_product: product, dim_day: ordered }
"""


def order(n, product, at="2024-03-01T10:00:00Z", price=1.5):
    return {"order_id": n, "product": product, "price": price, "at": at}


def product(name, title, at):
    return {"product": name, "title": title, "weight": 1.25, "at": at}


@pytest.fixture
def shop(make_weir):
    w = make_weir(PRODUCTS)
    w.apply()
    return w


def test_dimensions(shop, connection):
    """Type 1: the newest event wins in any order; inferred members are upgraded; null and invalid keys have members."""
    w = shop
    loans.write(w.data / "order-1.ndjson", [order(1, "pen"), order(2, "ink"), order(3, None), order(4, "  "),
                                           order(5, "pen", "2030-01-01T00:00:00Z")])
    loans.write(w.data / "product-1.ndjson", [product("pen", "New pen", "2024-02-02T00:00:00Z"),
                                             product("pen", "Old pen", "2024-01-01T00:00:00Z")])
    w.run("--accept-dead", codes=(0, 1))
    rows = dict(connection.execute(
        "select product, (title, inferred) from analytical_schema.dim_product where product_key > 0").fetchall())
    assert rows["pen"] == ("New pen", "f") or rows["pen"] == ("New pen", False)
    assert rows["ink"][1] in ("t", True)
    keys = dict(connection.execute("select order_id, product_key from analytical_schema.fact_order").fetchall())
    assert keys[3] == -1 and keys[4] == -2 and keys[1] > 0
    days = dict(connection.execute("select order_id, day_key from analytical_schema.fact_order").fetchall())
    assert days[1] == 20240301
    # A later version, and an older one that comes late: neither doubles, the newest stays.
    loans.write(w.data / "product-2.ndjson", [product("ink", "Ink", "2024-02-01T00:00:00Z"),
                                             product("pen", "Older pen", "2023-01-01T00:00:00Z")])
    w.run("--accept-dead", codes=(0, 1))
    rows = connection.execute("select product, title from analytical_schema.dim_product where product_key > 0 order by 1")
    assert rows.fetchall() == [("ink", "Ink"), ("pen", "New pen")]
    # Every fact finds its members.
    lost = connection.execute(
        "select count(*) from analytical_schema.fact_order f left join analytical_schema.dim_product p using (product_key)"
        " left join analytical_schema.dim_day d using (day_key) where p.product_key is null or d.day_key is null")
    assert lost.fetchone() == (0,)


def test_quiet_for_closes_and_a_late_event_revises(shop, connection):
    w = shop
    loans.write(w.data / "order-1.ndjson", [order(1, "pen"), order(2, "pen", "2024-03-01T12:00:00Z")])
    w.run()
    status = "select order_id, status, total::float, to_char(closed_at at time zone 'UTC', 'HH24:MI') from" \
             " analytical_schema.fact_order order by 1"
    assert connection.execute(status).fetchall() == [(1, "expired", 1.5, "11:00"), (2, "open", 1.5, None)]
    loans.write(w.data / "order-2.ndjson", [order(1, "pen", "2024-03-01T11:30:00Z", 2)])
    w.run()
    assert connection.execute(status).fetchall()[0] == (1, "open", 3.5, None)
    w.run("--close")
    assert [r[1] for r in connection.execute(status).fetchall()] == ["expired", "expired"]


def test_what_bi_tools_read(shop, connection):
    """Comments, primary keys and foreign keys are in the catalogue."""
    comment = connection.execute("select obj_description('analytical_schema.dim_product'::regclass)").fetchone()[0]
    assert "What is sold" in comment
    total = connection.execute(
        "select col_description(a.attrelid, a.attnum) from pg_attribute a"
        " where attrelid = 'analytical_schema.fact_order'::regclass and attname = 'total'").fetchone()[0]
    assert "Sum of the prices" in total
    kinds = connection.execute("select contype::text, count(*) from pg_constraint"
                               " where conrelid = 'analytical_schema.fact_order'::regclass group by 1").fetchall()
    assert dict(kinds)["p"] == 1 and dict(kinds)["f"] == 2
    schemas = {r[0] for r in connection.execute("select nspname from pg_namespace").fetchall()}
    assert {"development_schema", "analytical_schema", "data_visualization_schema", "admin_schema"} <= schemas


def test_plan_says_what_apply_does(make_weir, connection):
    w = make_weir(PRODUCTS)
    plan = w.command("plan", w.file, codes=None)
    assert "fact_order" in plan.stdout
    assert connection.execute("select to_regclass('analytical_schema.fact_order')").fetchone() == (None,)
    w.apply()
    again = w.command("apply", w.file, codes=(0, 99))
    assert "nothing to do" in again.stdout + again.stderr
    # An addition is made; a removal is refused unless asked for by name.
    w.file.write_text(PRODUCTS.replace("columns: { total:", "columns: { first_price: total, total:"))
    assert "first_price" in w.command("plan", w.file, codes=None).stdout
    w.apply()
    w.file.write_text(PRODUCTS)
    refused = w.command("apply", w.file, codes=None)
    assert refused.returncode != 0 or "first_price" in refused.stdout + refused.stderr
    columns = connection.execute("select 1 from pg_attribute where attrelid = 'analytical_schema.fact_order'::regclass"
                                 " and attname = 'first_price' and not attisdropped").fetchall()
    assert columns == [(1,)]


@pytest.mark.parametrize("old,new,column", [
    ("product: text, price: decimal", "product: text, price: integer", None),  # a sum is decimal either way
    ("{ expr: total, comment: Sum of the prices }", '"cast(total as float)"', "total"),
    ("columns: { total:", "columns: { first_price: total, total:", "first_price")])
def test_a_changed_file_that_was_not_applied(shop, connection, old, new, column):
    """A column of another type, or none: `run` stops before it reads anything, and says what to do."""
    assert old in PRODUCTS
    shop.file.write_text(PRODUCTS.replace(old, new))
    loans.write(shop.data / "order-1.ndjson", [order(1, "pen", price=2)])
    done = shop.command("run", "--until", "now", shop.file, codes=(78,) if column else (0,))
    if column:
        assert column in done.stderr and "weir apply" in done.stderr
        assert connection.execute("select count(*) from analytical_schema.fact_order").fetchone() == (0,)


def test_logins_can_do_what_they_need_and_no_more(shop, connection):
    w = shop
    loans.write(w.data / "order-1.ndjson", [order(1, "pen")])
    w.run()
    files = sorted((w.directory / "logins").glob("*.login"))
    assert len(files) == 4 and all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in files)
    dsn = {f.stem: f.read_text().strip() for f in files}
    refused = {
        "state": ["insert into admin_schema.dead_letter select * from admin_schema.dead_letter",
                  "select * from analytical_schema.fact_order", "select * from admin_schema.dead_letter",
                  "delete from admin_schema.state", "create table public.x (a int)",
                  "create table admin_schema.x (a int)"],
        "load": ["select body from admin_schema.state", "drop table analytical_schema.fact_order",
                 "delete from analytical_schema.fact_order", "create table analytical_schema.x (a int)",
                 "truncate analytical_schema.fact_order", "update admin_schema.dead_letter set reason = ''"],
        "task": ["select * from analytical_schema.fact_order", "insert into analytical_schema.fact_order (order_id) values (9)",
                 "drop table admin_schema.state", "select hash_key from admin_schema.pipeline"],
    }
    for name, statements in refused.items():
        key = next(k for k in dsn if name in k)
        with psycopg.connect(dsn[key], autocommit=True) as c:
            assert c.execute("select current_user").fetchone()[0] != "postgres"
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    c.execute(statement)


def test_workers_hold_what_their_role_needs(shop, connection):
    """Descriptors of each worker: no login file but its own, no key left open; no secret in environ or cmdline."""
    w = shop
    passwords = [f.read_text() for f in (w.directory / "logins").glob("*.login")]
    w.file.write_text(PRODUCTS.replace('path: "data/order*.ndjson"', 'path: "data/order*.ndjson", follow: true'))
    process = w.up()
    for pid in [process.pid, *w.workers(process)]:
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(entry)
            except OSError:
                continue
            assert ".login" not in target, f"{pid} still holds {target}"
        for name in ("environ", "cmdline"):
            text = pathlib.Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
            assert pid == process.pid or "WEIR_DSN" not in text
            for line in passwords:
                assert line.strip() not in text
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        if pid != process.pid:
            assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
            if os.geteuid() == 0:
                assert f"Uid:\t0" not in status
    w.stop(process)


def test_explain_and_status(shop, connection):
    w = shop
    loans.write(w.data / "order-1.ndjson", [order(1, "pen"), order(2, "pen", "2024-03-01T12:00:00Z")])
    w.run()
    text = w.command("explain", "2", w.file).stdout
    for word in ("open", "product", "pen", "quiet"):
        assert word in text, text
    data = w.json("explain", "2", w.file)
    assert data["status"] == "open" and data["events"] == 1
    unknown = w.command("explain", "77", w.file, codes=None)
    assert unknown.returncode != 0 or "unknown" in unknown.stdout + unknown.stderr
    w.file.write_text(PRODUCTS.replace('path: "data/order*.ndjson"', 'path: "data/order*.ndjson", follow: true'))
    process = w.up()
    status = w.status(process)
    assert {x["role"] for x in status["workers"]} >= {"ingest", "correlate", "transform", "load", "task", "status"}
    assert w.command("status", w.file).stdout
    code, metrics = w.get(process, "/metrics")
    assert code == 200 and "weir_batches_total" in metrics
    w.kill(process, "task")
    wait_for("the death on record", lambda: any(
        x["role"] == "task" and x["deaths"] for x in (w.status(process) or {"workers": []})["workers"]), 30 * SLOW)
    w.stop(process)


def test_version_and_help():
    import subprocess
    for arguments in (["--version"], ["--help"], ["help", "run"], ["plan", "--help"]):
        done = subprocess.run([BIN / "weir", *arguments], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout and not done.stderr, arguments
    done = subprocess.run([BIN / "weir", "validat"], capture_output=True, text=True)
    assert done.returncode == 64 and "validate" in done.stderr
