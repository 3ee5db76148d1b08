"""Hand-over files (WRH1): a data set sealed to named recipients. Nothing of a file is given out before its end was
seen, so that a truncated one gives nothing."""

import collections

import nacl.bindings as sodium
import nacl.exceptions

from . import envelope
from .errors import Auth, Commit, Malformed, Recipient, Suite, Truncated
from .octets import Octets, blake

MAGIC, PERSON = b"WRH1", b"weir1.handover"
CHUNK_BYTES, CHUNK_EXTRA = 64 * 1024, 17
NAME_MAX, FORMAT_MAX, PURPOSE_MAX, RECIPIENTS_MAX = 63, 15, 1024, 64

Head = collections.namedtuple("Head", "kid commit created_ms policy_hash pipeline name format purpose wraps data")


class _Cut(Octets):
    """Ends early: Truncated, where a whole value would be Malformed."""

    def take(self, n):
        if n > self.left():
            raise Truncated(self.what)
        return super().take(n)


def _head(c):
    start = c.data[:4]
    if not MAGIC.startswith(start):
        raise Malformed(c.what)
    c.take(4)
    if c.number(1) != 1:
        raise Suite(c.what)
    c.expect(b"\0\0\0")
    kid, commit, created, policy_hash = c.take(16), c.take(32), c.number(8), c.take(16)
    pipeline, name = c.name(NAME_MAX), c.name(NAME_MAX)
    format_, purpose = c.name(FORMAT_MAX), c.name(PURPOSE_MAX)
    n = c.number(1)
    if not 1 <= n <= RECIPIENTS_MAX:
        raise Malformed(c.what)
    wraps = [c.take(envelope.WRAP_BYTES) for _ in range(n)]
    return Head(kid, commit, created, policy_hash, pipeline, name, format_, purpose, wraps, c.data[:c.at])


def head(data):
    """The head alone, for anyone; nothing of it is authenticated."""
    return _head(_Cut(data, "hand-over file"))


def _data_key(h, key):
    mine = [w for w in h.wraps if envelope.wrap_recipient(w) == key.id]
    if not mine:
        raise Recipient("hand-over file")
    secret = key.unseal(mine[0][17:])
    if blake(256, b"weir1.commit", b"", secret) != h.commit or h.kid != h.commit[:16]:
        raise Commit("hand-over file")
    return secret


def decode(data, key):
    """(Head, the content) for a recipient's key. The whole file is in memory."""
    c = _Cut(data, "hand-over file")
    h = _head(c)
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    stream_key = blake(256, PERSON, b"", _data_key(h, key))
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, c.take(24), stream_key)
    bound = blake(256, PERSON, h.data)
    plain, tag = [], None
    while tag != sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL:
        n = c.number(4)
        if not CHUNK_EXTRA <= n <= CHUNK_BYTES + CHUNK_EXTRA:
            raise Malformed(c.what)
        chunk = c.take(n)
        try:
            piece, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, chunk, bound)
        except (nacl.exceptions.CryptoError, nacl.exceptions.RuntimeError):
            raise Auth(c.what) from None
        full = tag == sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE and len(piece) == CHUNK_BYTES
        if not full and tag != sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL:
            raise Malformed(c.what)
        plain.append(piece)
    c.end()
    return h, b"".join(plain)
