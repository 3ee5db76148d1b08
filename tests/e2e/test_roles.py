"""Who may do what: every login and a member of every group tries everything on every table, column, function and schema.

What is expected stands here, by itself: it is not read from the product."""

import pathlib
import re
import secrets

import psycopg
import pytest

import sealing

NAME = "roles"
LOGINS = ("load", "state", "task", "operator", "keeper", "release")
GROUPS = ("data_analysts", "data_scientists", "business_analysts", "bi", "operators")
SCHEMAS = ("admin_schema", "analytical_schema", "development_schema", "data_visualization_schema", "key_schema")

MORE = """
aggregates:
  loans_by_band:
    fact: fact_loan
    by: [band]
    measures: { loans: count, applications: { sum: applications } }
    k: 3
"""

OTHER = """
pipeline: other
correlate: { by: id, folds: { x: { first: thing.x } } }
sources:
  thing:
    file: { path: "data/thing*.ndjson" }
    format: json
    time: at
    fields: { id: text, x: text, at: timestamp }
warehouse:
  postgresql: { dsn: "${WEIR_DSN}", logins: "${WEIR_LOGINS}" }
tables:
  fact_thing: { kind: fact, grain: process, key: id, columns: { x: x } }
"""

ALL = object()
STATE = "pipeline build key epoch batch segment"
OPERATOR = {
    "migration": {"SELECT": ALL}, "instance": {"SELECT": ALL}, "replica": {"SELECT": ALL},
    "shard": {"SELECT": ALL}, "key_range": {"SELECT": ALL},
    "source": {"SELECT": ALL}, "partition": {"SELECT": ALL}, "run": {"SELECT": ALL}, "raw_table": {"SELECT": ALL},
    "aggregate": {"SELECT": ALL},
    "pipeline": {"SELECT": "id name g policy_serial live_build segment correlated_by created_at applied_at"},
    "state": {"SELECT": "pipeline build segment key kg epoch batch check_at tombstone"},
    "dead_letter": {"SELECT": "pipeline build rid source partition position stage reason at class digest"},
}
# {who: {schema: {table or regular expression: {privilege: columns}}}}; what is not here is refused.
MAY = {
    "load": {
        "admin_schema": {
            "pipeline": {"SELECT": ALL}, "instance": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL},
            "replica": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL, "DELETE": ALL},
            "shard": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL},
            "key_range": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL, "DELETE": ALL},
            "source": {"SELECT": ALL, "INSERT": ALL},
            "partition": {"SELECT": ALL, "INSERT": ALL, "UPDATE": "done_at next bytes"},
            "state": {"SELECT": "pipeline build"}, r"state_\d": {"INSERT": ALL},
            "dead_letter": {"SELECT": "pipeline build rid", "INSERT": ALL, "DELETE": ALL},
            "run": {"SELECT": "pipeline id", "INSERT": ALL, "UPDATE": ALL}},
        "analytical_schema": {
            "fact_loan": {"SELECT": "case_id revision", "INSERT": ALL, "UPDATE": ALL}, "fact_application": {"INSERT": ALL}},
        "development_schema": {
            "raw_application": {"INSERT": ALL}, "raw_call": {"INSERT": ALL},
            "process": {"SELECT": "case_id revision", "INSERT": ALL, "UPDATE": ALL}}},
    "state": {"admin_schema": {"pipeline": {"SELECT": "id name g live_build"}, "state": {"SELECT": ALL}}},
    "task": {
        "admin_schema": {
            "pipeline": {"SELECT": "id name live_build segment", "UPDATE": "segment"}, "shard": {"SELECT": ALL, "DELETE": ALL},
            "key_range": {"SELECT": ALL}, "state": {"SELECT": STATE}, r"state_\d": {"SELECT": STATE, "TRUNCATE": ALL},
            "run": {"SELECT": ALL, "DELETE": ALL}, "aggregate": {"SELECT": ALL, "UPDATE": "built_at rows"}}},
    "operator": {"admin_schema": OPERATOR},
    "keeper": {},
    "release": {"development_schema": {
        "raw_application": {"SELECT": ALL}, "raw_call": {"SELECT": ALL}, "process": {"SELECT": ALL}}},
    "data_analysts": {"analytical_schema": {".*": {"SELECT": ALL}}, "data_visualization_schema": {".*": {"SELECT": ALL}}},
    "data_scientists": {"development_schema": {".*": {"SELECT": ALL}}},
    "business_analysts": {"data_visualization_schema": {".*": {"SELECT": ALL}}},
    "bi": {"data_visualization_schema": {".*": {"SELECT": ALL}}},
    "operators": {"admin_schema": OPERATOR},
    "nobody": {},
}
FUNCTIONS = {
    "task": {"raw_partitions", f"refresh_{NAME}.loans_by_band"},
    "keeper": {"publish_envelope", "subject_secrets", "pipeline_facts"},
    "release": {"policy_current", "request", "fetch", "audit_write"},
    "data_scientists": {"policy_current", "request", "fetch"},
}


class World:
    """A sealed pipeline with all kinds of tables, beside it another one in the same database; a DSN for each who."""

    def __init__(self, directory, postgres):
        database = f"roles_{secrets.token_hex(4)}"
        self.w = sealing.SealedWeir(directory / "a", sealing.pipeline(name=NAME, more=MORE), postgres, database)
        self.w.set_up()
        self.other = sealing.Weir(directory / "b", OTHER, self.w.dsn)
        self.other.apply()
        self.postgres, self.database = postgres, database
        self.dsn = {who: (self.w.logins / f"{who}.login").read_text().strip() for who in LOGINS}
        self.others = {who: (self.other.directory / "logins" / f"{who}.login").read_text().strip()
                       for who in ("load", "state", "task", "operator")}
        for group in GROUPS:
            self.dsn[group] = self.w.scientist(group)
        self.dsn["nobody"] = self.w.scientist("data_analysts")
        name = re.search("//(p_[0-9a-f]+)", self.dsn["nobody"])[1]
        postgres.sql(f"REVOKE data_analysts FROM {name}")

    def owner(self):
        return psycopg.connect(self.w.dsn, autocommit=True)

    def connect(self, who):
        return psycopg.connect(self.dsn[who], autocommit=True)


@pytest.fixture(scope="module")
def roles(world, postgres):
    directory = world / f"roles-{secrets.token_hex(4)}"
    directory.mkdir()
    directory.chmod(0o755)
    r = World(directory, postgres)
    yield r
    r.w.teardown()
    r.other.teardown()


def relations(c, kinds):
    return c.execute("SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                     " WHERE n.nspname = ANY (%s) AND c.relkind = ANY (%s) ORDER BY 1, 2", (list(SCHEMAS), kinds)).fetchall()


def columns(c, schema, table):
    return [r[0] for r in c.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass AND attnum > 0"
        " AND NOT attisdropped ORDER BY attnum", (schema, table)).fetchall()]


def denied(c, statement):
    """Whether it is refused for want of a right; what else may be wrong with it is of no interest. Nothing is changed."""
    try:
        with c.transaction(force_rollback=True):
            c.execute(statement)
    except psycopg.errors.InsufficientPrivilege as e:
        assert str(e).startswith(("permission denied", "must be owner")), f"{statement}: {e}"
        return True
    except psycopg.Error:
        return False
    return False


def copy_denied(c, statement):
    try:
        with c.cursor().copy(statement) as copy:
            if "TO STDOUT" in statement:
                for _ in copy:
                    pass
    except psycopg.errors.InsufficientPrivilege:
        return True
    except psycopg.Error:
        return False
    return False


def rights(who, schema, table):
    rules = MAY[who].get(schema, {})
    return next((r for pattern, r in rules.items() if re.fullmatch(pattern, table)), {})


def has(right, column=None):
    return right is ALL or (right is not None and column in right.split())


def cells(who, schema, table, names):
    """(what, statement, whether it must go) of every kind, each column by itself."""
    may = rights(who, schema, table)
    name = f'{schema}."{table}"'
    for column in names:
        yield "SELECT", f'SELECT "{column}" FROM {name} LIMIT 0', has(may.get("SELECT"), column)
        yield "UPDATE", f'UPDATE {name} SET "{column}" = DEFAULT WHERE false', has(may.get("UPDATE"), column)
    yield "SELECT *", f"SELECT * FROM {name} LIMIT 0", may.get("SELECT") is ALL
    yield "INSERT", f"INSERT INTO {name} DEFAULT VALUES", "INSERT" in may
    yield "DELETE", f"DELETE FROM {name} WHERE false", "DELETE" in may
    yield "TRUNCATE", f"TRUNCATE {name}", "TRUNCATE" in may
    yield "LOCK", f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE", bool({"UPDATE", "DELETE", "TRUNCATE"} & may.keys()) and (
        "DELETE" in may or "TRUNCATE" in may or may.get("UPDATE") is ALL)
    yield "ALTER", f"ALTER TABLE {name} ADD COLUMN intruder integer", False
    yield "DROP", f"DROP TABLE {name}", False
    yield "TRIGGER", f"CREATE TRIGGER x BEFORE INSERT ON {name} EXECUTE FUNCTION suppress_redundant_updates_trigger()", False
    yield "INDEX", f'CREATE INDEX ON {name} ("{names[0]}")', False
    yield "POLICY", f"ALTER TABLE {name} DISABLE TRIGGER ALL", False
    yield "COPY TO", f"COPY {name} TO STDOUT", may.get("SELECT") is ALL
    yield "COPY FROM", f"COPY {name} FROM STDIN", "INSERT" in may


@pytest.mark.parametrize("who", [*MAY])
def test_tables_and_columns(roles, who):
    wrong, tried, days = [], 0, set()
    with roles.owner() as o, roles.connect(who) as c:
        for schema, table in relations(o, ["r", "p", "v", "m", "f"]):
            day = re.fullmatch(r"(.*_)20\d{6}", table)
            if day and day[1] in days:
                continue  # one day is like the next
            days |= {day[1]} if day else set()
            for what, statement, must in cells(who, schema, table, columns(o, schema, table)):
                tried += 1
                refused = (copy_denied if what.startswith("COPY") else denied)(c, statement)
                if refused == must:
                    wrong.append(f"{what} on {schema}.{table}: {'refused' if refused else 'allowed'}: {statement}")
    assert tried > 300 and not wrong, f"{who}: {len(wrong)} of {tried}\n" + "\n".join(wrong[:30])


@pytest.mark.parametrize("who", [*MAY])
def test_functions_sequences_and_schemas(roles, who):
    wrong = []
    with roles.owner() as o, roles.connect(who) as c:
        functions = o.execute(
            "SELECT n.nspname, p.proname, coalesce((SELECT string_agg('NULL::' || format_type(t, NULL), ', ' ORDER BY i)"
            " FROM unnest(p.proargtypes) WITH ORDINALITY a (t, i)), '') FROM pg_proc p JOIN pg_namespace n"
            " ON n.oid = p.pronamespace WHERE n.nspname = ANY (%s)", (list(SCHEMAS),)).fetchall()
        assert len(functions) >= 18
        for schema, function, arguments in functions:
            statement = f'SELECT {schema}."{function}"({arguments})'
            must = function in FUNCTIONS.get(who, ())
            try:
                with c.transaction(force_rollback=True):
                    c.execute(statement)
                refused = False
            except psycopg.Error as e:
                refused = e.sqlstate == "42501" and str(e).startswith("permission denied for")
            if refused == must:
                wrong.append(f"{statement}: {'refused' if refused else 'allowed'}")
        for schema, sequence in relations(o, ["S"]):
            for statement in (f"SELECT nextval('{schema}.{sequence}')", f"SELECT setval('{schema}.{sequence}', 1)"):
                must = who == "load" and sequence == "epoch" and "nextval" in statement
                if denied(c, statement) == must:
                    wrong.append(statement)
        for schema in (*SCHEMAS, "public", "pg_catalog"):
            for statement in (f"CREATE TABLE {schema}.intruder (a integer)", f"DROP SCHEMA {schema} CASCADE",
                              f"CREATE FUNCTION {schema}.f() RETURNS integer LANGUAGE sql RETURN 1"):
                if not denied(c, statement):
                    wrong.append(statement)
    assert not wrong, f"{who}:\n" + "\n".join(wrong)


ESCAPES = [
    "CREATE ROLE intruder", "CREATE DATABASE intruder", "CREATE SCHEMA intruder", "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE CURRENT_USER CREATEROLE", "ALTER ROLE CURRENT_USER BYPASSRLS", "SET ROLE owner", "SET ROLE postgres",
    "SET SESSION AUTHORIZATION owner", "SELECT pg_read_file('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'true'", "COPY (SELECT 1) TO '/tmp/x'", "SELECT lo_import('/etc/passwd')",
    "CREATE EXTENSION file_fdw", "SELECT * FROM pg_authid", "ALTER SYSTEM SET log_statement = 'all'",
    "SELECT pg_ls_dir('.')", "CREATE PUBLICATION p FOR ALL TABLES", "ALTER DATABASE {database} SET work_mem = 1",
    "SELECT pg_switch_wal()", "GRANT data_scientists TO CURRENT_USER",
    "ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT ALL ON TABLES TO PUBLIC", "SELECT pg_logical_emit_message(true, 'a', 'b') FROM pg_authid",
    "ALTER FUNCTION key_schema.fetch(uuid) SECURITY INVOKER",
    "REASSIGN OWNED BY owner TO CURRENT_USER",
]


@pytest.mark.parametrize("who", [*MAY])
def test_nobody_can_raise_himself(roles, who):
    wrong = []
    with roles.connect(who) as c:
        for statement in ESCAPES:
            try:
                c.execute(statement.format(database=roles.database))
                wrong.append(statement)
            except psycopg.Error as e:
                if e.sqlstate != "42501":
                    wrong.append(f"{statement}: {e.sqlstate} {e}")
    assert not wrong, "\n".join(wrong)


def test_another_pipelines_logins(roles):
    """Tables of one pipeline are nothing to another one's logins; functions look at who calls."""
    wrong = []
    for who, dsn in roles.others.items():
        with roles.owner() as o, psycopg.connect(dsn, autocommit=True) as c:
            for schema, table in relations(o, ["r", "p"]):
                if schema == "admin_schema" or table == "fact_thing":
                    continue
                name = f'{schema}."{table}"'
                column = columns(o, schema, table)[0]
                wrong += [f"{who}: {s}" for s in (f'SELECT "{column}" FROM {name}', f"INSERT INTO {name} DEFAULT VALUES",
                                                  f"DELETE FROM {name}", f'UPDATE {name} SET "{column}" = DEFAULT')
                          if not denied(c, s)]
    assert not wrong, "\n".join(wrong)
    calls = {"keeper": ["SELECT key_schema.subject_secrets('other', '{}')", "SELECT key_schema.pipeline_facts('other')",
                        "SELECT key_schema.subject_secrets(NULL, '{}')"],
             "release": ["SELECT key_schema.request('other', ARRAY['\\x00112233445566778899aabbccddeeff'::bytea], '{}', 'x')",
                         "SELECT key_schema.audit_write('other', 'handoff', 'x', '{}')",
                         f"SELECT key_schema.audit_write('{NAME}', 'erase', 'x', '{{}}')"],
             "task": ["SELECT admin_schema.raw_partitions('other')"]}
    for who, statements in calls.items():
        with roles.connect(who) as c:
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    c.execute(statement)


def test_tables_that_come_later(roles):
    """What the owner makes in a schema is for its readers, without another apply; and for nobody else."""
    readers = {"analytical_schema": {"data_analysts"}, "development_schema": {"data_scientists"}, "admin_schema": set(),
               "data_visualization_schema": {"data_analysts", "business_analysts", "bi"}, "key_schema": set()}
    with roles.owner() as o:
        for schema, may in readers.items():
            o.execute(f"CREATE TABLE {schema}.later (a integer)")
            try:
                for who in MAY:
                    with roles.connect(who) as c:
                        assert denied(c, f"SELECT a FROM {schema}.later") == (who not in may), (who, schema)
                        assert denied(c, f"INSERT INTO {schema}.later VALUES (1)"), (who, schema)
            finally:
                o.execute(f"DROP TABLE {schema}.later")


def test_keys_are_visible_to_bi_tools(roles):
    """REFERENCES, so that information_schema shows keys, and comments."""
    with roles.connect("data_analysts") as c:
        found = {r[0] for r in c.execute("SELECT constraint_name FROM information_schema.table_constraints"
                                         " WHERE table_schema = 'analytical_schema'").fetchall()}
    assert any("fact_loan" in name for name in found)


# ---- check ----
DRIFTS = {  # what an administrator might do: what check must name
    "GRANT SELECT ON analytical_schema.fact_loan TO business_analysts": "business_analysts: SELECT on table analytical_schema.fact_loan",
    "GRANT UPDATE (status) ON analytical_schema.fact_loan TO data_analysts": "data_analysts: UPDATE on column status",
    "REVOKE SELECT ON data_visualization_schema.loans_by_band FROM bi": "bi: SELECT on table",
    "GRANT USAGE ON SCHEMA key_schema TO PUBLIC": "PUBLIC: USAGE on schema key_schema",
    "GRANT EXECUTE ON FUNCTION key_schema.fetch TO PUBLIC": "PUBLIC: EXECUTE on function key_schema",
    f"REVOKE EXECUTE ON FUNCTION key_schema.subject_secrets FROM weir_{NAME}_keeper": f"weir_{NAME}_keeper: EXECUTE",
    f"ALTER ROLE weir_{NAME}_task CREATEDB": "may create databases",
    f"GRANT data_scientists TO weir_{NAME}_operator": f"weir_{NAME}_operator is a member of data_scientists",
    "ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA development_schema GRANT SELECT ON TABLES TO bi":
        "bi: SELECT on tables to come in development_schema",
    f"ALTER ROLE weir_{NAME}_load SET session_replication_role = replica": f"weir_{NAME}_load is set",
    "ALTER TABLE key_schema.audit DISABLE TRIGGER stays": "trigger stays of key_schema.audit is disabled",
    "CREATE TABLE admin_schema.planted (a integer)": "table admin_schema.planted belongs to postgres",
    "GRANT CREATE ON SCHEMA public TO PUBLIC": "PUBLIC: CREATE on schema public",
    f"GRANT SELECT ON admin_schema.state TO weir_{NAME}_state WITH GRANT OPTION": "SELECT WITH GRANT OPTION",
    "ALTER ROLE data_analysts LOGIN": "a group that can log in",
    f"ALTER FUNCTION key_schema.fetch SET search_path = public": "with the caller's search_path",
}
UNDO = ["REVOKE SELECT ON analytical_schema.fact_loan FROM business_analysts", "REVOKE USAGE ON SCHEMA key_schema FROM PUBLIC",
        "REVOKE UPDATE (status) ON analytical_schema.fact_loan FROM data_analysts", "DROP TABLE admin_schema.planted",
        "GRANT SELECT ON data_visualization_schema.loans_by_band TO bi", "REVOKE EXECUTE ON FUNCTION key_schema.fetch FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION key_schema.subject_secrets TO weir_{NAME}_keeper", f"ALTER ROLE weir_{NAME}_task NOCREATEDB",
        f"REVOKE data_scientists FROM weir_{NAME}_operator", "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA development_schema REVOKE SELECT ON TABLES FROM bi",
        f"ALTER ROLE weir_{NAME}_load RESET ALL", "ALTER TABLE key_schema.audit ENABLE TRIGGER stays",
        f"REVOKE GRANT OPTION FOR SELECT ON admin_schema.state FROM weir_{NAME}_state", "ALTER ROLE data_analysts NOLOGIN",
        "ALTER FUNCTION key_schema.fetch SET search_path = pg_catalog, pg_temp"]


def test_check_names_every_drift(roles):
    w = roles.w
    good = w.json("check", w.file)
    assert good["outcome"] == "good" and not [r for r in good["rows"] if r["kind"] != "note"] and good["examined"] > 200
    for statement in DRIFTS:
        roles.postgres.sql(statement, roles.database)
    login, key = w.logins / "load.login", w.keys / "sealer.key"
    login.chmod(0o644)
    key.chmod(0o640)
    try:
        found = w.json("check", w.file, codes=(78,))
        told = "\n".join(r["what"] for r in found["rows"] if r["kind"] != "note")
        missing = [words for words in [*DRIFTS.values(), str(login), str(key)] if words not in told]
        assert not missing, f"{missing}\n{told}"
        assert found["drifts"] == len(DRIFTS) + 2, told
    finally:
        login.chmod(0o600)
        key.chmod(0o600)
        for statement in UNDO:
            roles.postgres.sql(statement, roles.database)
    assert w.json("check", w.file)["outcome"] == "good"


def test_the_key_of_queue_identities_among_the_keys_is_no_damaged_one(roles):
    w = roles.w
    text, rid = w.file.read_text(), w.keys / "rid.key"
    rid.write_bytes(secrets.token_bytes(32))
    rid.chmod(0o600)
    try:
        assert str(rid) in "\n".join(r["what"] for r in w.json("check", w.file, codes=(78,))["rows"])
        w.file.write_text(text.replace("keys: keys\n", "keys: keys\nrid_key: file:keys/rid.key\n"))
        assert w.json("check", w.file)["outcome"] == "good"
    finally:
        w.file.write_text(text)
        rid.unlink()


def test_temporary_tables_of_a_running_loader_are_no_drift(roles):
    w = roles.w
    with psycopg.connect((w.logins / "load.login").read_text().strip(), autocommit=True) as c:
        c.execute("CREATE TEMPORARY TABLE stage (n serial PRIMARY KEY, words text)")
        assert w.json("check", w.file)["outcome"] == "good"


def test_a_missing_login_and_a_lost_policy(roles):
    w = roles.w
    (w.logins / "keeper.login").rename(w.logins / "away")
    (w.keys / "policy").rename(w.keys / "policy.away")
    try:
        told = "\n".join(r["what"] for r in w.json("check", w.file, codes=(78,))["rows"])
        assert "keeper.login" in told and "policy" in told
    finally:
        (w.logins / "away").rename(w.logins / "keeper.login")
        (w.keys / "policy.away").rename(w.keys / "policy")


# ---- the policy, and the version before ----
def test_apply_takes_no_lower_policy_and_no_other_root(roles, directory):
    w = roles.w
    policy = w.keys / "policy"
    first = policy.read_bytes()
    w.sign("--renew")
    second = policy.read_bytes()
    assert "policy of serial" in w.command("plan", w.file, codes=None).stdout
    w.apply()
    try:
        policy.write_bytes(first)
        refused = w.command("apply", w.file, codes=(78,)).stdout
        assert "an older one is never taken" in refused
        stranger = sealing.SealedWeir(directory / "x", w.file.read_text(), roles.postgres, f"x_{secrets.token_hex(4)}")
        stranger.keys_init()
        policy.write_bytes((stranger.keys / "policy").read_bytes())
        assert "signature" in w.command("apply", w.file, codes=(78,)).stdout
        policy.write_bytes(second[:-1] + bytes([second[-1] ^ 1]))
        assert "signature" in w.command("apply", w.file, codes=(78,)).stdout
        policy.write_bytes(second)
        text = w.file.read_text()
        w.file.write_text(text.replace("{ type: decimal, sensitive: financial, pad: 0 }", "decimal"))
        assert "income" in w.command("apply", w.file, codes=(78,)).stdout
        w.file.write_text(re.sub(r"(?m)^keys: .*\n", "", text))
        assert w.command("apply", w.file, codes=None).returncode == 78
        w.file.write_text(text)
    finally:
        policy.write_bytes(second)
    assert "nothing to do" in w.command("apply", w.file).stderr
    with roles.owner() as o:
        rows = o.execute("SELECT kind, detail->>'serial' FROM key_schema.audit WHERE kind = 'policy' ORDER BY id").fetchall()
        assert len(rows) == 2 and rows[0][1] < rows[1][1]


def test_a_warehouse_of_the_version_before(make_weir, connection):
    """One that has the first migration only is brought up to date in place."""
    text = (pathlib.Path(__file__).resolve().parents[2] / "sql" / "0001_admin.sql").read_text()
    connection.execute(text)
    connection.execute("INSERT INTO admin_schema.migration (number, name, digest, version)"
                       " VALUES (1, 'admin', sha256(convert_to(%s, 'UTF8')), '0.2')", (text,))
    connection.execute("INSERT INTO admin_schema.pipeline (id, name, g, hash_key, correlated_by)"
                       " VALUES (1, 'before', 128, decode(repeat('5a', 16), 'hex'), 'id')")
    connection.execute("INSERT INTO admin_schema.dead_letter (pipeline, build, rid, stage, reason)"
                       " VALUES (1, 1, gen_random_uuid(), 'ingest', 'old')")
    w = make_weir(OTHER.replace("pipeline: other", "pipeline: before"))
    plan = w.command("plan", w.file).stdout
    assert "migration 2" in plan and "migration 1" not in plan and "pipeline before:" not in plan
    w.apply()
    assert "nothing to do" in w.command("apply", w.file).stderr
    assert connection.execute("SELECT id, encode(hash_key, 'hex'), policy_root FROM admin_schema.pipeline").fetchall() == [
        (1, "5a" * 16, None)]
    assert connection.execute("SELECT reason, sid FROM admin_schema.dead_letter").fetchall() == [("old", None)]
    assert w.json("check", w.file)["outcome"] == "good"
