"""From a query to opened rows."""

import datetime
import decimal
import getpass
import pathlib
import uuid

import psycopg

from . import content, handover, keyfile, sealed, values
from .errors import Auth, Erased, Malformed, Passphrase, SealError
from .marks import ERASED, Sealed
from .release import Keys, Release, Trust

BYTEA_OID = 17
ROWS_AT_ONCE = 20_000
CARRIED_FIRST = 0x95  # an array of five


def load_key(path, passphrase=None, passphrase_file=None):
    """A key file; asks for the passphrase when it needs one and none was given."""
    if passphrase_file is not None:
        passphrase = keyfile.read_passphrase(passphrase_file)
    try:
        return keyfile.read(path, passphrase)
    except Passphrase:
        if passphrase is not None:
            raise
    return keyfile.read(path, getpass.getpass(f"passphrase of {pathlib.Path(path).name}: "))


def _root_beside(*paths):
    for path in paths:
        found = path and pathlib.Path(path).with_name("root.pub")
        if found and found.is_file():
            return bytes.fromhex(found.read_text().strip())
    return None


def _carried(value):
    if isinstance(value, (bytes, memoryview)) and len(value) > 40 and value[0] == CARRIED_FIRST:
        try:
            return sealed.carried(bytes(value))
        except Malformed:
            pass
    return None


def _check_call(purpose, on_error):
    if not (isinstance(purpose, str) and purpose.strip()):
        raise ValueError("say what you open the data for: purpose=")
    if on_error not in ("raise", "mark"):
        raise ValueError('on_error is "raise" or "mark"')


class Reader:
    """
    dsn: of a login that is in data_scientists, or the release login. member_key: path of the WRK1 file, or an opened
    key. root: the policy root's public key (32 bytes or hexadecimal) as you were told it on another way than through
    this database; None: root.pub beside the policy or the member key, and where there is none the root that the
    database pins, which its administrator can replace. policy: path of a signed policy, instead of the one
    in the database. serial_min: the highest policy serial that you have seen.
    """

    def __init__(self, dsn, pipeline, member_key, passphrase=None, passphrase_file=None, root=None, policy=None,
                 serial_min=0):
        if root is None:
            root = _root_beside(policy, None if isinstance(member_key, keyfile.SecretKey) else member_key)
        if not isinstance(member_key, keyfile.SecretKey):
            member_key = load_key(member_key, passphrase, passphrase_file)
        self.member, self.pipeline = member_key, pipeline
        root = bytes.fromhex(root) if isinstance(root, str) else root
        policy = None if policy is None else pathlib.Path(policy).read_bytes()
        self.connection = psycopg.connect(dsn, autocommit=True, application_name="weir-reader")
        self.release = Release(self.connection, pipeline, member_key, Trust(pipeline, root, policy, serial_min))

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- opening ----
    def rows(self, query, params=None, *, purpose, on_error="raise"):
        """Rows of any query as dicts, every sealed value opened. purpose: why you open them; it stays in the audit.
        on_error: "raise", or "mark" to get a Sealed where a value does not open. The result is held in memory, still
        sealed; rows are opened as you take them."""
        _check_call(purpose, on_error)
        return (dict(zip(names, row)) for names, row in self._rows(query, params, purpose, on_error) if row is not None)

    def _rows(self, query, params, purpose, on_error):
        """(names, values) a row; once (names, None) at first, so that an empty result has columns too."""
        keys = Keys()
        with self.connection.cursor() as cursor:
            cursor.execute(query, params)
            names = [d.name for d in cursor.description]
            if len(set(names)) != len(names):
                raise ValueError(f"the query has two columns of one name: {names}")
            yield names, None
            places = _Places(self.connection, cursor, lambda: self.release.policy)
            while chunk := cursor.fetchmany(ROWS_AT_ONCE):
                carried = [places.carried(row) for row in chunk]
                self._ask(keys, (c for row in carried for c in row.values()), purpose)
                for row, found in zip(chunk, carried):
                    opened = list(row)
                    for i, c in found.items():
                        opened[i] = self._open(keys, c, on_error)
                    yield names, opened

    def _ask(self, keys, carried, purpose):
        kids, sids = set(), set()
        for c in carried:
            if isinstance(c, SealError):
                continue
            try:
                h = sealed.head(c.payload)
            except SealError:
                continue  # said where it is opened
            if not h.erased:
                kids.add(h.kid)
                if h.bound and c.sid is not None:
                    sids.add(c.sid)
        self.release.ask(keys, kids, sids, purpose)

    def _open(self, keys, c, on_error):
        try:
            if isinstance(c, SealError):
                raise c
            h = sealed.head(c.payload)
            if h.erased:
                return ERASED
            key = keys.data.get(h.kid)
            if key is None:
                raise keys.refused[h.kid]
            return key.open(self.pipeline, c, keys.secrets.get(c.sid))
        except Erased:
            return ERASED
        except SealError as e:
            if on_error == "raise":
                raise
            return Sealed(e)

    def values(self, carried, *, purpose, on_error="raise"):
        """Opens a list of carried values (bytes, or sealed.Carried for one that stands apart, as in a dead letter)."""
        found = [c if isinstance(c, sealed.Carried) else sealed.carried(c) for c in carried]
        keys = Keys()
        self._ask(keys, found, purpose)
        return [self._open(keys, c, on_error) for c in found]

    # ---- for pandas ----
    def frame(self, query, params=None, *, purpose, on_error="raise", exact=False):
        """The rows as a pandas data frame. Decimals become floats unless exact; json is parsed; what belongs to an
        erased person is missing, and counted in frame.attrs["erased"]."""
        import pandas
        _check_call(purpose, on_error)
        rows, erased, names = [], 0, []
        for names, row in self._rows(query, params, purpose, on_error):
            if row is not None:
                erased += sum(v is ERASED for v in row)
                rows.append([_for_frame(v, exact) for v in row])
        frame = pandas.DataFrame(rows, columns=names)
        frame.attrs.update(erased=erased, purpose=purpose)
        return frame


def _for_frame(value, exact):
    if value is ERASED:
        return None
    if isinstance(value, decimal.Decimal) and not exact:
        return float(value)
    if isinstance(value, values.Json):
        return value.value
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return datetime.datetime(value.year, value.month, value.day) if 1678 <= value.year <= 2261 else value
    return value


_COLUMNS = """
SELECT a.attrelid, a.attnum, a.attname, coalesce(p.relname, c.relname)
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND c.relnamespace = pg_catalog.to_regnamespace('development_schema')
"""


class _Places:
    """
    Which columns of a result hold sealed values, and that they lie where they belong. A value brings along what it is
    bound to (source, field, record), so it would open wherever somebody has put it. Columns that come straight from a
    raw table tell where they are from, and so: a value of another source, of another sensitive field, or, with rid
    among the columns, of another record is refused.
    """

    def __init__(self, connection, cursor, policy):
        result = cursor.pgresult
        described = list(enumerate(cursor.description))
        self.bytea = [i for i, d in described if d.type_code == BYTEA_OID]
        tables = sorted({result.ftable(i) for i in self.bytea} - {0})
        named = {(t, n): (column, table) for t, n, column, table in connection.execute(_COLUMNS, (tables,))} if tables else {}
        origin = {i: named.get((result.ftable(i), result.ftablecol(i))) for i, _ in described}
        rids = {result.ftable(i): i for i, _ in described if origin[i] and origin[i][0] == "rid"}
        self.rid_of = {i: rids.get(result.ftable(i)) for i in self.bytea}
        self.source_of, self.path_of = {}, {}
        for i in self.bytea:
            column, table = origin[i] or ("", "")
            if table.startswith("raw_"):
                source = self.source_of[i] = table.removeprefix("raw_")
                self.path_of[i] = column, {s.path for s in policy().sensitive if s.source == source}

    def carried(self, row):
        """{column: Carried, or the error why it is refused} of a row."""
        found = {}
        for i in self.bytea:
            c = _carried(row[i])
            if c is not None:
                found[i] = self._judge(i, row, c) or c
        return found

    def _judge(self, i, row, c):
        rid = row[self.rid_of[i]] if self.rid_of[i] is not None else None
        rid = rid.bytes if isinstance(rid, uuid.UUID) else rid
        if rid is not None and bytes(rid) != c.rid:
            return Auth(f"{c.path}: a value of another record")
        if i not in self.source_of:
            return None
        column, paths = self.path_of[i]
        if c.source.split("@")[0] != self.source_of[i] or column in paths and c.path != column:
            return Auth(f"{column}: a value of another field")
        return None


def open_file(path, member_key, passphrase=None, passphrase_file=None):
    """A hand-over file: an Opened with the head and the content."""
    if not isinstance(member_key, keyfile.SecretKey):
        member_key = load_key(member_key, passphrase, passphrase_file)
    head, content = handover.decode(pathlib.Path(path).read_bytes(), member_key)
    return Opened(head, content)


class Opened:
    """Of a hand-over: name, purpose, pipeline, created (UTC), format, content (bytes)."""

    def __init__(self, head, content):
        self.name, self.purpose, self.pipeline, self.format = head.name, head.purpose, head.pipeline, head.format
        self.created = values.EPOCH + datetime.timedelta(milliseconds=head.created_ms)
        self.content = content

    def frame(self):
        """As a pandas data frame. Of a CSV all values are text, as digits may be names (a CPF begins with zeros); NDJSON
        keeps numbers and booleans. Null, and what belongs to an erased person, is missing; the latter is counted in
        frame.attrs["erased"]. Other values that could not be opened are Sealed."""
        import pandas
        names, rows = (content.csv if self.format == "csv" else content.ndjson)(self.content.decode())
        frame = pandas.DataFrame([[None if v is ERASED else v for v in row] for row in rows], columns=names, dtype=object)
        frame.attrs.update(erased=sum(v is ERASED for row in rows for v in row), purpose=self.purpose)
        return frame
