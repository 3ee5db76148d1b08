"""The audit chain, for who checks it: every row's hash covers the row before, and heads are signed elsewhere."""

import hashlib

from .envelope import verify_signature
from .octets import prefixed

FIRST = bytes(32)
CONTEXT = b"WRA1-head\0"


def row_hash(previous, text):
    """text: key_schema.audit_text of the row, as bytes."""
    return hashlib.sha256(previous + text).digest()


def verify_head(public, pipeline, id_, hash_, at_ms, signature):
    """Raises Signature unless the audit key signed this head of the chain at that time."""
    verify_signature(public, CONTEXT, prefixed(pipeline) + id_.to_bytes(8, "big") + hash_ + at_ms.to_bytes(8, "big"), signature)


def first_bad_row(rows):
    """rows: (id, prev, hash, text) in order of id. The id of the first row that is missing or was changed; None: none."""
    wanted, previous = 1, FIRST
    for id_, prev, hash_, text in rows:
        if id_ != wanted or bytes(prev) != previous or row_hash(previous, bytes(text)) != bytes(hash_):
            return wanted
        wanted, previous = wanted + 1, bytes(hash_)
    return None
