"""A sealed pipeline, its keys, its people, and events whose values are known: what every test of sealing starts from."""

import base64
import datetime as dt
import decimal
import json
import pathlib
import re
import secrets
import sys

import psycopg

from weir import Weir

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "clients" / "python"))

import weir_reader  # noqa: E402

PASSPHRASE = "correct horse battery staple"
ROLE, MEMBER = "data_science", "ana"

FILE = 'file: {{ directory: "${{WEIR_DATA}}", path: "{name}*.ndjson"{follow} }}'

# Fields of `application` beside case_id, seq, at, channel: type, class and more, and how the opened value comes out.
SENSITIVE = {
    "cpf": "{ type: text, sensitive: identity, token: person, canonical: cpf, pad: 16 }",
    "name": "{ type: text, sensitive: identity, path: customer.name }",
    "amount": "{ type: decimal, sensitive: financial }",
    "income": "{ type: decimal, sensitive: financial, pad: 0 }",
    "birth": "{ type: date, sensitive: identity }",
    "signed_at": "{ type: timestamp, sensitive: identity }",
    "married": "{ type: boolean, sensitive: identity }",
    "score": "{ type: float, sensitive: financial }",
    "children": "{ type: integer, sensitive: identity }",
    "notes": "{ type: json, sensitive: identity, pad: 4096 }",
}
CLEAR = {"cpf": "text", "name": "{ type: text, path: customer.name }", "amount": "decimal", "income": "decimal",
         "birth": "date", "signed_at": "timestamp", "married": "boolean", "score": "float", "children": "integer",
         "notes": "json"}


def pipeline(name="loans", sealed=True, sources=None, unknown=None, subject=True, key_window=None, more="", derive="", lanes=1,
             fields=None, limits=None):
    """sealed False: the same without any sealing. sources: {"application": "kafka: {...}"}; files are the default."""
    line = lambda s: (sources or {}).get(s, FILE.format(name=s, follow=""))
    types = {**(SENSITIVE if sealed else CLEAR), **(fields or {})}
    listed = "".join(f"      {n}: {t}\n" for n, t in types.items())
    cpf = SENSITIVE["cpf"] if sealed else "text"
    remark = "{ type: text, sensitive: identity }" if sealed else "text"
    limits = {**({"key_window": key_window} if key_window else {}), **(limits or {})}
    text = f"""pipeline: {name}
lanes: {lanes}
{"keys: keys" if sealed else ""}
{"raw: warehouse" if sealed else ""}
{"rid_key: file:rid.key" if "rabbitmq" in str(sources) else ""}
correlate:
  by: case_id
  folds:
    band:         {{ first: application.band }}
    channel:      {{ last: application.channel }}
    applications: {{ count: application }}
    calls:        {{ count: call }}
    incomes:      {{ count: application.income }}
    last_at:      {{ max: [application.at, call.at] }}
"""
    if sealed:
        text += """    amount:       { first: application.amount }
    who:          { last: [application.name, call.remark] }
    person:       { last: [application.cpf_token, call.cpf_token] }
"""
    text += f"""sources:
  application:
    {line("application")}
    format: json
    time: at
    sequence: seq
    {"subject: cpf" if sealed and subject else ""}
    {f"unknown_fields: {unknown}" if unknown else ""}
    fields:
      case_id: text
      seq: integer
      at: timestamp
      channel: text
{listed}    derive:
      band: "bucket(amount, 5000, 15000, 50000)"
{derive}  call:
    {line("call")}
    format: json
    time: at
    sequence: seq
    {"subject: cpf" if sealed and subject else ""}
    fields:
      case_id: text
      seq: integer
      at: timestamp
      cpf: {cpf}
      remark: {remark}
warehouse:
  postgresql: {{ dsn: "${{WEIR_DSN}}", logins: "${{WEIR_LOGINS}}" }}
tables:
  fact_loan:
    kind: fact
    grain: process
    key: case_id
    columns:
      band: band
      channel: channel
      applications: applications
      calls: calls
      incomes: incomes
      last_at: last_at
{"      person: person" if sealed else ""}
  fact_application:
    kind: fact
    grain: application
    columns:
      band: band
      channel: channel
      seq: seq
"""
    if limits:
        text += "limits:\n" + "".join(f"  {k}: {v}\n" for k, v in limits.items())
    return re.sub(r"\n\s*\n", "\n", text) + more


# ---- events ----
def cpf_of(n):
    return f"{(n * 7_919_003 + 11_223_344_556) % 10**11:011d}"


def stamp(n):
    return dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc) + dt.timedelta(seconds=61 * n)


def application(n, **other):
    """Event n. Missing, null, empty and extreme values are among the first."""
    event = {
        "case_id": f"L{n:05d}", "seq": 1, "at": stamp(n).isoformat(), "channel": ("web", "branch", "phone")[n % 3],
        "cpf": cpf_of(n) if n % 2 else "{0[0]}{0[1]}{0[2]}.{0[3]}{0[4]}{0[5]}.{0[6]}{0[7]}{0[8]}-{0[9]}{0[10]}".format(cpf_of(n)),
        "customer": {"name": f"Zoë Customer {n} Ünal"}, "amount": 1000.25 * (n + 1), "income": 3000 + n,
        "birth": str(dt.date(1950, 1, 1) + dt.timedelta(days=n * 97)), "signed_at": stamp(n + 5).isoformat(),
        "married": n % 2 == 0, "score": n / 7, "children": n - 3, "notes": {"n": n, "list": ["a", None, 1.5]}}
    special = {0: {"income": None, "customer": {"name": ""}, "notes": []}, 1: {"amount": 0, "notes": {}},
               2: {"amount": 10**20 + 1, "children": 2**63 - 1}, 3: {"married": None, "score": None, "birth": None},
               4: {"customer": {}, "children": -2**63}, 5: {"cpf": None}, 6: {"cpf": "not a number"},
               7: {"customer": {"name": "x" * 5000}}}
    event.update(special.get(n, {}))
    event.update(other)
    return {k: v for k, v in event.items() if v is not ...}


def call(n, **other):
    return {"case_id": f"L{n:05d}", "seq": 2, "at": stamp(n + 500).isoformat(), "cpf": cpf_of(n),
            "remark": f"remark {n}: spoke with Zoë", **other}


def expected(event):
    """{field: value} of an application as the reader gives it."""
    num = lambda x: None if x is None else decimal.Decimal(json.dumps(x))
    when = lambda x: None if x is None else dt.datetime.fromisoformat(x)
    return {"cpf": event["cpf"], "name": event.get("customer", {}).get("name"), "amount": num(event["amount"]),
            "income": num(event["income"]), "birth": event["birth"] and dt.date.fromisoformat(event["birth"]),
            "signed_at": when(event["signed_at"]), "married": event["married"], "score": event["score"],
            "children": event["children"]}


def write(path, events, mode="w"):
    with open(path, mode) as f:
        for e in events:
            f.write((e if isinstance(e, str) else json.dumps(e, ensure_ascii=False)) + "\n")
    path.chmod(0o644)


# ---- the pipeline with its keys ----
class SealedWeir(Weir):
    def __init__(self, directory, pipeline, server, database, env=None):
        """database: a name for a new one on server."""
        self.server, self.database = server, database
        super().__init__(directory, pipeline, server.create_database(database), env)
        self.keys = self.directory / "keys"
        self.passphrase = self.directory / "passphrase"
        self.passphrase.touch(0o600)
        self.passphrase.write_text(PASSPHRASE + "\n")
        self.logins = self.directory / "logins"

    def keys_command(self, *words, yes=True, codes=(0,), **kw):
        return self.command("keys", *words, "--pipeline", self.file, "--passphrase-file", self.passphrase,
                            *(["--yes"] if yes else []), codes=codes, **kw)

    def keys_init(self):
        self.keys_command("init", "--member", MEMBER, "--role", ROLE, "--kdf-memory", 1, yes=False)
        return self.sign()

    def sign(self, *options, **kw):
        return self.keys_command("policy", "sign", *options, **kw)

    def set_up(self):
        """Keys, policy, tables: ready to run."""
        self.keys_init()
        self.apply()
        return self

    @property
    def member_key(self):
        return self.keys / f"member-{MEMBER}.key"

    def scientist(self, groups="data_scientists, data_analysts"):
        """DSN of a person's login of these groups."""
        name, password = f"p_{secrets.token_hex(6)}", secrets.token_hex(8)
        self.server.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {groups}")
        return f"postgresql://{name}:{password}@/{self.database}?host={self.server.directory}&port={self.server.port}"

    def reader(self, **options):
        return weir_reader.Reader(self.scientist(), self.pipeline_name, self.member_key, PASSPHRASE, **options)

    def open(self, *words, codes=(0,), purpose="test"):
        """`weir open` as a scientist of the test's own."""
        self.opener = getattr(self, "opener", None) or self.scientist()
        return self.command("open", *words, "--pipeline", self.file, "--member-key", self.member_key, "--passphrase-file",
                            self.passphrase, "--dsn", "env:OPENER_DSN", "--purpose", purpose, codes=codes,
                            env={"OPENER_DSN": self.opener})

    @property
    def pipeline_name(self):
        return re.search(r"^pipeline: (\S+)", self.file.read_text(), re.M)[1]

    def superuser(self):
        return psycopg.connect(self.server.superuser_dsn(self.database), autocommit=True)

    def role_key(self):
        """The role's secret, as ana opens it: for tests that look for it where it must not be."""
        me = weir_reader.load_key(self.member_key, PASSPHRASE)
        with self.superuser() as c:
            sealed, = c.execute("SELECT sealed FROM key_schema.role_key WHERE member = %s", (MEMBER,)).fetchone()
        return weir_reader.keyfile.SecretKey(weir_reader.keyfile.ROLE, "role", me.unseal(sealed))

    def data_keys(self):
        """{kid: the data key's 32 bytes}, newest last."""
        role = self.role_key()
        with self.superuser() as c:
            rows = c.execute("SELECT w.kid, w.wrap FROM key_schema.wrap w JOIN key_schema.envelope USING (pipeline, kid)"
                             " WHERE rkid = %s ORDER BY published_at", (role.id,)).fetchall()
        return {bytes(kid): role.unseal(wrap[17:]) for kid, wrap in rows}


# ---- searching for what must not be there ----
def forms(text):
    """The bytes of a secret text in every dress it may wear."""
    raw = text.encode() if isinstance(text, str) else text
    found = {"raw": raw, "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode()}
    if isinstance(text, str):
        found["utf-16le"], found["utf-16be"] = text.encode("utf-16le"), text.encode("utf-16be")
        found["reversed"] = raw[::-1]
    for shift in range(3):  # base64 at each alignment, without the characters that depend on neighbours
        coded = base64.b64encode(bytes(shift) + raw)
        found[f"base64+{shift}"] = coded[(0, 2, 3)[shift]:len(coded) // 4 * 4 - 4]
    return {k: v for k, v in found.items() if len(v) >= 5}


def number_forms(digits):
    """A decimal's units as MessagePack and as memory have them, beside its text."""
    units = int(digits)
    n = (units.bit_length() + 8) // 8
    return {**forms(digits), "big-endian": units.to_bytes(n, "big").lstrip(b"\0"),
            "little-endian": units.to_bytes(n, "little").rstrip(b"\0")}


class Needles:
    def __init__(self, **named):
        """name=text, or name={form: bytes}."""
        self.all = [(f"{name} ({form})", needle) for name, value in named.items()
                    for form, needle in (value if isinstance(value, dict) else forms(value)).items()]

    def found(self, data):
        return [what for what, needle in self.all if needle in data]

    def in_file(self, path):
        try:
            return self.found(path.read_bytes())
        except (FileNotFoundError, PermissionError, OSError):
            return []


CLOSED_MAX = 1 << 20  # of pages without access: keys are in small ones


def memory(pid):
    """Pieces of everything that a process has mapped, pages included that it has closed to itself, but the code and
    constants of files and large reservations."""
    with open(f"/proc/{pid}/maps") as f:
        regions = [line.split(None, 5) for line in f]
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for where, rights, _, _, inode, *path in regions:
            lo, hi = (int(x, 16) for x in where.split("-"))
            closed = "r" not in rights and hi - lo > CLOSED_MAX
            if closed or path and path[0].startswith(("[vvar", "[vsyscall")) or inode != "0" and "w" not in rights:
                continue
            try:
                mem.seek(lo)
                yield mem.read(hi - lo)
            except (OSError, ValueError):
                continue
