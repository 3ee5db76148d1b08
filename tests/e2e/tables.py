"""Tables as comparable data. Equal means: the same keys, and per row equal columns except volatile ones,
which are those whose comment says so (loaded_at, batch, revision)."""

import psycopg

VOLATILE = {"loaded_at", "batch", "revision"}


def columns(connection, table):
    schema, name = table.split(".")
    rows = connection.execute(
        "select a.attname, coalesce(col_description(a.attrelid, a.attnum), '') from pg_attribute a"
        " join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped"
        " order by a.attnum", (schema, name)).fetchall()
    assert rows, f"{table} does not exist"
    said = {n for n, comment in rows if "volatile" in comment.lower()}
    assert said == VOLATILE & {n for n, _ in rows}, f"{table}: comments mark {said} as volatile"
    return [n for n, _ in rows if n not in VOLATILE]


def rows(dsn, table, without=(), order=None, where="true"):
    """The table's rows as tuples of its non-volatile columns, sorted; `without`: more columns to leave out."""
    with psycopg.connect(dsn) as connection:
        names = [n for n in columns(connection, table) if n not in without]
        quoted = ", ".join(f'"{n}"' for n in names)
        got = connection.execute(f"select {quoted} from {table} where {where}").fetchall()
    return sorted(got, key=repr)


def differences(a, b, limit=5):
    """Rows of one that the other has not, as text; empty when equal."""
    a_set, b_set = set(map(repr, a)), set(map(repr, b))
    text = [f"only in the first: {r}" for r in sorted(a_set - b_set)[:limit]]
    text += [f"only in the second: {r}" for r in sorted(b_set - a_set)[:limit]]
    if not text and len(a) != len(b):
        text = [f"{len(a)} rows against {len(b)}: doubled rows"]
    return "\n".join(text)


def assert_equal(a, b, what):
    assert len(a) == len(b) and a == b, f"{what} differs:\n{differences(a, b)}"


class Snapshot:
    """A star schema as natural keys, to hold against another pipeline's: surrogate keys are hashes under each pipeline's
    own key, and rids name topic and offset, so neither is compared across transports."""

    def __init__(self, dsn, facts=("fact_loan", "fact_work"), members=(("dim_resource", "resource", "resource_key"),)):
        """members: (dimension, its natural key, its surrogate key)"""
        self.tables = {}
        with psycopg.connect(dsn) as c:
            for dimension, _, key in members:
                names = [n for n in columns(c, f"analytical_schema.{dimension}") if n not in ("version_rid", key)]
                self.tables[dimension] = self._fetch(c, names, f"analytical_schema.{dimension} t")
            for fact in facts:
                names = [n for n in columns(c, f"analytical_schema.{fact}") if n != "rid"]
                joins = f"analytical_schema.{fact} t"
                for dimension, natural, key in members:
                    if key in names:
                        names[names.index(key)] = f"{dimension}.{natural}"
                        joins += f" left join analytical_schema.{dimension} using ({key})"
                self.tables[fact] = self._fetch(c, names, joins)

    @staticmethod
    def _fetch(connection, names, source):
        selected = ", ".join(n if "." in n else f"t.{n}" for n in names)
        return sorted(connection.execute(f"select {selected} from {source}").fetchall(), key=repr)

    def assert_equal(self, other, what=""):
        for name, mine in self.tables.items():
            assert_equal(mine, other.tables[name], f"{what} {name}")
