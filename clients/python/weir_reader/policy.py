"""The signed policy: who may open what. Public; its root is pinned in the database, or by the caller."""

import collections
import time

import msgpack

from .envelope import verify_signature
from .errors import Malformed, Policy as NotThePolicy, Validity
from .keyfile import check_box, check_sign
from .octets import Octets, blake, prefixed

MAGIC, CONTEXT = b"WRP1", b"WRP1-policy\0"
BYTES_MAX, NAME_MAX, PATH_MAX, WHERE_MAX = 4 * 1024 * 1024, 63, 255, 4096
CLASSES_MAX, ROLES_MAX, SEALERS_MAX, MEMBERS_MAX, HANDOFFS_MAX, NAMES_MAX = 16, 62, 64, 1024, 32, 128
DIGESTS_MAX, SOURCES_MAX, PURPOSE_MAX = 128, 63, 1000
EPOCH_MAX, TOKENS_MAX, FORMS, PADS = 255, 16 * 255, 4, (0, *range(4, 13))
FIELDS_MAX = 128
SENSITIVE_MAX = SOURCES_MAX * FIELDS_MAX
DEAD_LETTER = "dead_letter"

Role = collections.namedtuple("Role", "name epoch public")
Sensitive = collections.namedtuple("Sensitive", "source path class_name domain canonical padexp subject digests")
Member = collections.namedtuple("Member", "name public roles")
Handoff = collections.namedtuple("Handoff", "name columns recipients query purpose")
Clear = collections.namedtuple("Clear", "path domain canonical subject")
Source = collections.namedtuple("Source", "name where clear")
Token = collections.namedtuple("Token", "domain epoch id")


class Policy:
    """serial, not_before_ms, not_after_ms, pipeline, classes {name: [role]}, roles {name: Role}, escrow, sealers [pk],
    audit, sensitive [Sensitive], unknown_class, members {name: Member}, handoffs {name: Handoff},
    sources {name: Source with clear [Clear]}, tokens {(domain, epoch): Token}, hash."""

    def usable(self, pipeline, serial_min=0, now_ms=None):
        """Refuses another pipeline's, an older one, one that is not valid at this time."""
        now_ms = int(time.time() * 1000) if now_ms is None else now_ms
        if self.pipeline != pipeline or self.serial < serial_min:
            raise NotThePolicy("policy")
        if not self.not_before_ms <= now_ms <= self.not_after_ms:
            raise Validity("policy")
        return self


# ---- shapes: each gives the thing or raises ValueError ----

def _number(x):
    if type(x) is not int or not 0 <= x < 2**63:
        raise ValueError
    return x


def _of(these):
    def check(x):
        if type(x) is not int or x not in these:
            raise ValueError
        return x
    return check


def _text(most=NAME_MAX, least=1):
    def check(x):
        if not isinstance(x, str) or not least <= len(x.encode()) <= most or "\0" in x:
            raise ValueError
        return x
    return check


def _bytes(n):
    def check(x):
        if not isinstance(x, bytes) or len(x) != n:
            raise ValueError
        return x
    return check


def _bool(x):
    if not isinstance(x, bool):
        raise ValueError
    return x


def _list(of, most):
    def check(x):
        if not isinstance(x, list) or len(x) > most:
            raise ValueError
        return [of(y) for y in x]
    return check


def _record(*shapes):
    def check(x):
        if not isinstance(x, list) or len(x) != len(shapes):
            raise ValueError
        return [shape(y) for shape, y in zip(shapes, x)]
    return check


def _formed(domain, canonical):
    """A record that has a canonical form only with a token domain."""
    def with_domain(record):
        def check(x):
            row = record(x)
            if row[canonical] and not row[domain]:
                raise ValueError
            return row
        return check
    return with_domain


_name, _pk, _digest, _form = _text(), _bytes(32), _bytes(16), _of(range(FORMS))
_names = _list(_name, NAMES_MAX)
_body = _record(
    _number, _number, _number, _name,
    _list(_record(_name, _names), CLASSES_MAX),
    _list(_record(_name, _number, _pk), ROLES_MAX),
    _pk, _list(_pk, SEALERS_MAX), _pk,
    _list(_formed(3, 4)(_record(_name, _text(PATH_MAX), _name, _text(least=0), _form, _of(PADS), _bool,
                                _list(_digest, DIGESTS_MAX))), SENSITIVE_MAX),
    _text(least=0),
    _list(_record(_name, _pk, _names), MEMBERS_MAX),
    _list(_record(_name, _names, _names, _digest, _text(PURPOSE_MAX, 0)), HANDOFFS_MAX),
    _list(_record(_name, _text(WHERE_MAX, 0),
                  _list(_formed(1, 2)(_record(_text(PATH_MAX), _text(least=0), _form, _bool)), FIELDS_MAX)), SOURCES_MAX),
    _list(_record(_name, _of(range(EPOCH_MAX + 1)), _digest), TOKENS_MAX))


def _unpack(body):
    try:
        return _body(msgpack.unpackb(body, raw=False, strict_map_key=True))
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException):
        raise Malformed("policy") from None


def _by_name(rows):
    found = {row[0]: row for row in rows}
    if len(found) != len(rows):
        raise NotThePolicy("policy: a name twice")
    return found


def _judge(p):
    named = [r for roles in p.classes.values() for r in roles] + [r for m in p.members.values() for r in m.roles]
    lists = [*p.classes.values(), *(m.roles for m in p.members.values()), *(h.recipients for h in p.handoffs.values())]
    good = (p.serial > 0 and all(len(set(x)) == len(x) for x in lists) and p.sealers and DEAD_LETTER in p.classes and all(p.classes.values())
            and all(r in p.roles for r in named)
            and all(m in p.members for h in p.handoffs.values() for m in h.recipients)
            and all(s.class_name in p.classes for s in p.sensitive)
            and all(epoch > 0 for _, epoch in p.tokens)
            and (not p.unknown_class or p.unknown_class in p.classes))
    if not good:
        raise NotThePolicy("policy")
    if p.not_before_ms > p.not_after_ms:
        raise Validity("policy")


def decode(data, root):
    """A verified policy. root: the 32 bytes of the root's public key that the caller trusts."""
    data = bytes(data)
    if len(data) > BYTES_MAX:
        raise Malformed("policy")
    c = Octets(data, "policy")
    c.expect(MAGIC)
    body = c.take(c.number(4))
    signed, signature = data[:c.at], c.take(64)
    c.end()
    verify_signature(root, CONTEXT, signed, signature)
    x = _unpack(body)
    p = Policy()
    p.serial, p.not_before_ms, p.not_after_ms, p.pipeline = x[:4]
    p.escrow, p.sealers, p.audit, p.unknown_class = x[6], x[7], x[8], x[10]
    p.sensitive = [Sensitive(*s) for s in x[9]]
    p.hash = blake(128, b"weir1.policy", data)
    for public in (*(r[2] for r in x[5]), p.escrow, *(m[1] for m in x[11])):
        check_box(public)
    for public in (*p.sealers, p.audit):
        check_sign(public)
    p.classes = {name: row[1] for name, row in _by_name(x[4]).items()}
    p.roles = {name: Role(*row) for name, row in _by_name(x[5]).items()}
    p.members = {name: Member(*row) for name, row in _by_name(x[11]).items()}
    p.handoffs = {name: Handoff(*row) for name, row in _by_name(x[12]).items()}
    p.sources = {name: Source(*row[:2], [Clear(*c) for c in row[2]]) for name, row in _by_name(x[13]).items()}
    p.tokens = {(t[0], t[1]): Token(*t) for t in x[14]}
    if len(p.tokens) != len(x[14]):
        raise NotThePolicy("policy: a token key twice")
    _judge(p)
    return p


def root_replaced(old_root, pipeline, serial, new_root, signature):
    """Raises unless the old root has named the new one, for policies of this serial and later ones."""
    check_sign(new_root)
    verify_signature(old_root, b"WRP1-root\0", prefixed(pipeline) + serial.to_bytes(8, "big") + bytes(new_root), signature)
