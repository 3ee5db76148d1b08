"""Raw events in development_schema: a row for each event, a partition for each day, kept so long as the file says."""

import datetime as dt

import psycopg

import loans

RAW = "raw: { to: warehouse, keep: 30d }\n"


def partitions(connection, source):
    return {r[0]: r[1] for r in connection.execute(
        "select c.relname, pg_get_expr(c.relpartbound, c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = %s::regclass", [f"development_schema.raw_{source}"])}


def test_every_event(make_weir, database):
    """Nothing sealed here: fields as they are, those too that nothing else reads; a second run adds nothing."""
    w = make_weir(loans.pipeline(more=RAW))
    streams = loans.twin(processes=200)
    for stream, events in streams.items():
        loans.write(w.data / f"{stream}.ndjson", events)
    w.apply()
    w.run()
    with psycopg.connect(database) as connection:
        for stream, events in streams.items():
            want = sorted((e["case_id"], e["seq"], e["activity"]) for e in events)
            got = connection.execute(f"select case_id, seq, activity from development_schema.raw_{stream}").fetchall()
            assert sorted(got) == want
        assert connection.execute(
            "select count(*) from development_schema.raw_application where event_at = at and sid is null"
            " and rid is not null").fetchone() == (len(streams["application"]),)
        declared = sum("registered_at" in e for e in streams["application"])
        assert connection.execute(
            "select count(registered_at) from development_schema.raw_application").fetchone() == (declared,)
    w.run(codes=(0, 99))
    with psycopg.connect(database) as connection:
        assert connection.execute(
            "select count(*) from development_schema.raw_workitem").fetchone() == (len(streams["workitem"]),)


def test_partitions(make_weir, database):
    """Today's is there before the first row; plan has nothing more to do; another `keep` is a change of its own."""
    w = make_weir(loans.pipeline(more=RAW))
    w.apply()
    with psycopg.connect(database, autocommit=True) as connection:
        today = dt.datetime.now(dt.timezone.utc).strftime("%Y%m%d")
        there = partitions(connection, "offer")
        assert f"raw_offer_{today}" in there and there["raw_offer_default"] == "DEFAULT"
        assert w.json("plan", w.file, codes=(99,))["outcome"] == "nothing"
        w.file.write_text(w.file.read_text().replace("keep: 30d", "keep: 7d"))
        words = w.command("apply", w.file).stdout
        assert words.count("are kept 7 days") == 3 and "table development_schema" not in words
        assert connection.execute("select distinct keep from admin_schema.raw_table").fetchall() == \
            [(dt.timedelta(days=7),)]


def test_a_new_field(make_weir, database):
    """A field that is declared later is a column more, in every partition; one that goes stays, and is said."""
    w = make_weir(loans.pipeline(more=RAW))
    w.apply()
    text = w.file.read_text()
    w.file.write_text(text.replace("      registered_at:    timestamp\n",
                                   "      registered_at:    timestamp\n      channel: text\n", 1))
    assert "column raw_application.channel text" in w.command("apply", w.file).stdout
    with psycopg.connect(database) as connection:
        connection.execute("select channel from development_schema.raw_application_default")
    w.file.write_text(text)
    assert "raw_application.channel is not in the pipeline file" in w.command("plan", w.file, codes=(99,)).stdout
    w.file.write_text(text.replace(RAW, ""))
    assert "table raw_offer is not in the pipeline file" in w.command("plan", w.file, codes=(99,)).stdout
