"""What an aggregate may show: its function, run over facts made at random, against the rule computed here."""

import collections
import random
from decimal import Decimal

import psycopg
import pytest

PIPELINE = """
pipeline: shop
correlate:
  by: id
  folds:
    band:   { first: sale.band }
    team:   { first: sale.team }
    price:  { sum: sale.price }
    weight: { max: sale.weight }
    who:    { first: sale.who }
    sold:   { min: sale.at }
sources:
  sale:
    file: { path: "data/sale*.ndjson" }
    time: at
    fields: { id: text, band: integer, team: text, price: decimal, weight: float, who: text, at: timestamp }
warehouse:
  postgresql: { dsn: "${WEIR_DSN}", logins: "${WEIR_LOGINS}" }
tables:
  dim_day: { kind: calendar, from: 2024-01-01, to: 2024-01-04 }
  dim_team: { kind: dimension, key: team }
  fact_sale:
    kind: fact
    grain: process
    columns: { band: band, team: team, price: price, weight: weight, who: who, b0: weight, subject: band }
    references: { dim_team: team, dim_day: sold }
aggregates:
  by_band:
    fact: fact_sale
    by: [band, team]
    measures: { sales: count, price: { sum: price }, mean: { avg: price }, heavy: { avg: weight } }
    subject: who
    k: 4
    comment: Sales by band
  by_day:
    fact: fact_sale
    by: [dim_day, dim_day.year_month, dim_team.team, status]
    measures: { sales: count }
    k: 3
    overlap: accepted
"""
K = 4


@pytest.fixture
def shop(make_weir, database):
    w = make_weir(PIPELINE)
    w.apply()
    with psycopg.connect(database, autocommit=True) as connection:
        yield w, connection


def fill(connection, rows):
    connection.execute("truncate analytical_schema.fact_sale")
    with connection.cursor() as c:
        c.executemany(
            "insert into analytical_schema.fact_sale (id, band, team, price, weight, who, team_key, day_key, status,"
            " events, revision) values (%s, %s, %s, %s, %s, %s, -1, -1, 'open', 1, 1)",
            [(str(i), *r) for i, r in enumerate(rows)])


def refresh(connection, name):
    return connection.execute(f"select admin_schema.\"refresh_shop.{name}\"()").fetchone()[0]


# ---- the rule, a second time ----
def contributions(rows):
    """Of some rows: by person, how many, the sums of price and weight (None: nothing to add)."""
    out = {}
    for _, _, price, weight, who in rows:
        n, sums = out.setdefault(who, [0, [[], []]])
        out[who][0] = n + 1
        for values, x in zip(sums, (price, weight)):
            if x is not None:
                values.append(x)
    return out


def fine(rows):
    people = contributions(rows)
    if len(people) < K:
        return False
    for i in range(2):
        sums = [abs(sum(s[i])) for _, s in people.values() if s[i]]
        if len(sums) < K or 2 * max(sums) > sum(sums):
            return False
    return True


def shown(rows):
    prices = [r[2] for r in rows if r[2] is not None]
    weights = [r[3] for r in rows if r[3] is not None]
    return len(rows), sum(prices), sum(prices) / len(prices), sum(weights) / len(weights)


def expected(rows):
    groups = collections.defaultdict(list)
    for r in rows:
        if r[4] is not None:
            groups[None if r[0] is None else str(r[0]), r[1]].append(r)
    rest, out = [], {}
    for by, group in groups.items():
        if fine(group) and by != ("other", "other"):
            out[by] = shown(group)
        else:
            rest += group
    if fine(rest):
        out["other", "other"] = shown(rest)
    return out


def random_rows(rng):
    people = [f"p{i}" for i in range(rng.randint(3, 14))] + [None]
    money = lambda: rng.choice([None, Decimal(rng.randint(-300, 900)) / 100, Decimal(0), Decimal(50000)])
    return [(rng.choice([None, 0, 1, 2, 3, 4]), rng.choice([None, "a", "other", "'; --"]), money(),
             rng.choice([None, float(rng.randint(1, 9)), float(rng.randint(1, 9)), 3.5]), rng.choice(people))
            for _ in range(rng.randint(0, 220))]


def close(a, b):
    return a == b or abs(float(a) - float(b)) <= 1e-9 * max(abs(float(a)), abs(float(b)), 1)


def test_rule(shop):
    """Whatever the rows: what is shown is what the rule allows, and nothing of fewer than k persons."""
    _, connection = shop
    rng = random.Random(20110101)
    cells = merged = 0
    for _ in range(60):
        rows = random_rows(rng)
        fill(connection, rows)
        want = expected(rows)
        assert refresh(connection, "by_band") == len(want)
        got = {(b, t): tuple(m) for b, t, *m in connection.execute(
            "select band, team, sales, price, mean, heavy from data_visualization_schema.by_band").fetchall()}
        assert set(got) == set(want), rows
        for by, values in want.items():
            assert all(close(x, y) for x, y in zip(got[by], values)), (by, got[by], values, rows)
        cells += len(want)
        merged += ("other", "other") in want
    assert cells > 100 and merged > 10, "the rows were too easy"


def test_one_person_in_two_small_groups(shop):
    """Merging adds persons, not groups: four small groups of the same three persons are three persons."""
    _, connection = shop
    fill(connection, [(band, "a", Decimal(10), 1.0, f"p{i}") for band in range(4) for i in range(3)])
    assert refresh(connection, "by_band") == 0
    fill(connection, [(band, "a", Decimal(10), 1.0, f"p{i + band % 2}") for band in range(4) for i in range(3)])
    assert refresh(connection, "by_band") == 1


def token(epoch, person):
    return f"01{epoch:02x}{person:036x}"


def test_a_person_under_two_token_epochs_is_one(shop):
    """Tokens of different epochs do not join: k must hold within one epoch, and half of a sum is all epochs' largest."""
    _, connection = shop
    row = lambda epoch, person, price=10: (1, "a", Decimal(price), 1.0, token(epoch, person))
    fill(connection, [row(e, i) for e in (1, 2) for i in range(K - 1)])
    assert refresh(connection, "by_band") == 0
    fill(connection, [row(e, i) for e in (1, 2) for i in range(K)])
    assert refresh(connection, "by_band") == 1
    assert connection.execute("select sales, price from data_visualization_schema.by_band").fetchone() == (2 * K, 20 * K)
    fill(connection, [row(e, i, 30 if i == 0 else 10) for e in (1, 2) for i in range(K)])
    assert refresh(connection, "by_band") == 1
    # 80 of 140 are one person's, 40 under each token: neither has more than half.
    fill(connection, [row(e, i, 40 if i == 0 else 10) for e in (1, 2) for i in range(K)])
    assert refresh(connection, "by_band") == 0
    # The same with small groups that are merged.
    fill(connection, [(i, "a", Decimal(10), 1.0, token(e, i)) for e in (1, 2) for i in range(K - 1)])
    assert refresh(connection, "by_band") == 0
    fill(connection, [(i, "a", Decimal(10), 1.0, token(e, i)) for e in (1, 2) for i in range(K)])
    assert refresh(connection, "by_band") == 1


def test_no_reader_sees_it_empty(shop, database):
    """One who reads while it is built sees what was there before, and does not wait."""
    _, connection = shop
    fill(connection, [(1, "a", Decimal(10), 1.0, f"p{i}") for i in range(9)])
    assert refresh(connection, "by_band") == 1
    with psycopg.connect(database) as builder, psycopg.connect(database, autocommit=True) as reader:
        reader.execute("set lock_timeout = '2s'")
        refresh(builder, "by_band")
        before = reader.execute("select as_of from data_visualization_schema.by_band").fetchall()
        assert len(before) == 1
        builder.commit()
        after = reader.execute("select as_of from data_visualization_schema.by_band").fetchall()
        assert len(after) == 1 and after > before


def test_dimensions_and_days(shop):
    """By the members of dimensions; -1 is a member like others. The settings of the session do not matter."""
    _, connection = shop
    fill(connection, [(1, "a", Decimal(10), 1.0, f"p{i}") for i in range(9)])
    connection.execute("insert into analytical_schema.dim_team (team_key, team) values (7, 'north')")
    connection.execute("update analytical_schema.fact_sale set team_key = 7, day_key = 20240102 where id < '5'")
    connection.execute("set datestyle = 'German'")
    assert refresh(connection, "by_day") == 2
    rows = connection.execute("select date, year_month, team, status, sales from data_visualization_schema.by_day"
                              " order by sales").fetchall()
    assert rows == [(None, None, "(unknown)", "open", 4), ("2024-01-02", "2024-01", "north", "open", 5)]


def test_plan(shop, database):
    """Nothing to do a second time; another definition is another table; one that goes is said, and stays."""
    w, connection = shop
    assert w.json("plan", w.file, codes=(99,))["outcome"] == "nothing"
    fill(connection, [(1, "a", Decimal(10), 1.0, f"p{i}") for i in range(9)])
    refresh(connection, "by_band")
    w.file.write_text(PIPELINE.replace("k: 4", "k: 5", 1).replace("k: 3", "k: 3\n    every: 1h", 1))
    words = w.command("apply", w.file).stdout
    assert "aggregate data_visualization_schema.by_band" in words and "another interval" in words
    assert connection.execute("select count(*) from data_visualization_schema.by_band").fetchone() == (0,)
    assert connection.execute("select name, every::text, built_at from admin_schema.aggregate order by 1").fetchall() \
        == [("by_band", "24:00:00", None), ("by_day", "01:00:00", None)]
    w.file.write_text(PIPELINE[:PIPELINE.index("  by_day:")].replace("k: 4", "k: 5", 1))
    assert "aggregate by_day is not in the pipeline file" in w.command("apply", w.file).stdout
    w.command("apply", w.file, "--allow-destructive", "by_day")
    assert connection.execute("select to_regclass('data_visualization_schema.by_day')").fetchone() == (None,)
    assert connection.execute("select name from admin_schema.aggregate").fetchall() == [("by_band",)]
    connection.execute("drop table data_visualization_schema.by_band")
    connection.execute("create table data_visualization_schema.by_band (x int)")
    assert "not of this pipeline" in w.command("apply", w.file, codes=(78,)).stdout
