"""The rows of a hand-over's content: CSV or NDJSON as Weir writes them (workers/lib/opened.h)."""

import json
import re

from .errors import BY_NAME, Malformed
from .marks import ERASED, Sealed


def _mark(name):
    return ERASED if name == "erased" else Sealed(BY_NAME[name]())


def _csv_cell(text, quoted):
    if quoted:
        return text
    if not text:
        return None
    if text.startswith("<") and text.endswith(">") and text[1:-1] in BY_NAME:
        return _mark(text[1:-1])
    return text[1:] if re.fullmatch(r"\\+<[a-z]*>", text) else text


def csv(text):
    """RFC 4180, where an empty field that is not quoted is a null: the csv module does not tell the two apart."""
    cells = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\n|$)')
    rows, row, at = [], [], 0
    while at < len(text):
        m = cells.match(text, at)
        if not m:
            raise Malformed("CSV: a quote in the middle of a field")
        quoted = m[1] is not None
        row.append((m[1].replace('""', '"') if quoted else m[2], quoted))
        at = m.end()
        if m[3] != ",":
            rows.append(row)
            row = []
    head = [name for name, _ in rows[0]] if rows else []
    return head, [[_csv_cell(*cell) for cell in r] for r in rows[1:]]


def _ndjson_value(value):
    if isinstance(value, dict) and value:
        first = next(iter(value))
        if first == "$sealed" and len(value) == 1 and value[first] in BY_NAME:
            return _mark(value[first])
        if re.fullmatch(r"\$\$+sealed", first):
            return {(k[1:] if k == first else k): v for k, v in value.items()}
    return value


def ndjson(text):
    rows = [json.loads(line) for line in text.split("\n") if line]
    names = list(rows[0]) if rows else []
    return names, [[_ndjson_value(r[n]) for n in names] for r in rows]
