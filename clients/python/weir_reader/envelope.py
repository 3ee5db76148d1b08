"""Key envelopes: a signed core, and the wraps that hold the data key for each recipient."""

import collections

import nacl.bindings as sodium
import nacl.exceptions

from .errors import Commit, Malformed, Policy, Recipient, Sealer, Signature, Suite, Validity
from .octets import Octets, key_id
from .sealed import DataKey

CORE_CONTEXT, MAGIC = b"WRE1-core\0", b"WRE1"
CORE_BYTES_MAX, WRAP_BYTES, WRAPS_MAX, NAME_MAX = 512, 97, 64, 63

Core = collections.namedtuple(
    "Core", "kid commit not_before_ms not_after_ms sealer policy_hash pipeline class_name signed signature")


def core(data):
    """A signed core, read; nothing is verified but its form and that the kid is the commitment's head."""
    if len(data) > CORE_BYTES_MAX:
        raise Malformed("envelope")
    c = Octets(data, "envelope")
    c.expect(MAGIC)
    if c.number(1) != 1:
        raise Suite("envelope")
    c.expect(b"\0\0\0")
    kid, commit = c.take(16), c.take(32)
    not_before, not_after = c.number(8), c.number(8)
    sealer, policy_hash = c.take(16), c.take(16)
    pipeline, class_name = c.name(NAME_MAX, 1), c.name(NAME_MAX, 1)
    signed, signature = c.data[:c.at], c.take(64)
    c.end()
    if kid != commit[:16]:
        raise Commit("envelope")
    if not_before > not_after:
        raise Validity("envelope")
    return Core(kid, commit, not_before, not_after, sealer, policy_hash, pipeline, class_name, signed, signature)


def verify_signature(public, context, message, signature):
    try:
        sodium.crypto_sign_open(bytes(signature) + context + message, bytes(public))
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError):
        raise Signature("signature") from None


def verify_core(data, policy):
    """A core whose sealer, signature, pipeline and class hold against a verified policy."""
    found = core(data)
    sealers = [pk for pk in policy.sealers if key_id(pk) == found.sealer]
    if not sealers:
        raise Sealer("envelope")
    verify_signature(sealers[0], CORE_CONTEXT, found.signed, found.signature)
    if found.pipeline != policy.pipeline or found.class_name not in policy.classes:
        raise Policy("envelope")
    return found


def wrap_recipient(wrap):
    if len(wrap) != WRAP_BYTES:
        raise Malformed("wrap")
    if wrap[0] != 1:
        raise Suite("wrap")
    return bytes(wrap[1:17])


def unwrap(wrap, key, commit):
    """The data key in a wrap, for a role, member or escrow key; Commit when it is not the core's."""
    if wrap_recipient(wrap) != key.id:
        raise Recipient("wrap")
    secret = key.unseal(wrap[17:])
    return DataKey(secret, commit)


def split(data):
    """(core bytes, [wraps]) of a whole envelope, as lake objects carry it."""
    c = Octets(data, "envelope")
    found = c.take(c.number(2))
    n = c.number(1)
    if not 1 <= n <= WRAPS_MAX:
        raise Malformed("envelope")
    wraps = [c.take(WRAP_BYTES) for _ in range(n)]
    c.end()
    return found, wraps
