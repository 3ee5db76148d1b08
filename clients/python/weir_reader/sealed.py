"""Sealed fields, carried values, tokens: headers that anyone may read, and opening for who has the data key."""

import collections

import msgpack
import nacl.bindings as sodium
import nacl.exceptions

from . import values
from .errors import Auth, Commit, Erased, Flags, Key, Malformed, Padding, Size, Suite, Version
from .octets import blake, prefixed

HEAD_BYTES, PREFIX_BYTES, TAG_BYTES, ERASED_BYTES = 44, 20, 16, 4
NAME_MAX, ENCODED_MAX = 255, (1 << 20) + 16
PAYLOAD_MAX = HEAD_BYTES + ENCODED_MAX + (1 << 12) + TAG_BYTES
BOUND, ERASED_FLAG = 1, 2
ZEROS = bytes(16)

Head = collections.namedtuple("Head", "bound erased padexp kid")
Carried = collections.namedtuple("Carried", "payload source path rid sid")
Token = collections.namedtuple("Token", "epoch domain hash")


def head(payload):
    """The header of a sealed field. Erased is no error here."""
    if len(payload) < ERASED_BYTES:
        raise Malformed("sealed value")
    version, suite, flags, padexp = payload[:4]
    if version != 1:
        raise Version("sealed value")
    if suite != 1:
        raise Suite("sealed value")
    if flags not in (0, BOUND, ERASED_FLAG):
        raise Flags("sealed value")
    if padexp and not 4 <= padexp <= 12:
        raise Padding("sealed value")
    if flags == ERASED_FLAG:
        if padexp:
            raise Padding("sealed value")
        if len(payload) != ERASED_BYTES:
            raise Malformed("sealed value")
        return Head(False, True, 0, ZEROS)
    if len(payload) < HEAD_BYTES + TAG_BYTES + 1:
        raise Malformed("sealed value")
    if len(payload) > PAYLOAD_MAX:
        raise Size("sealed value")
    return Head(flags == BOUND, False, padexp, bytes(payload[4:PREFIX_BYTES]))


def carried(data):
    """The parts of a value that travels away from its record; Malformed when it is none."""
    try:
        payload, source, path, rid, sid = msgpack.unpackb(data, raw=False)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        raise Malformed("carried value") from None
    good = (isinstance(payload, bytes) and isinstance(source, str) and isinstance(path, str)
            and isinstance(rid, bytes) and len(rid) == 16
            and (sid is None or isinstance(sid, bytes) and len(sid) == 16))
    if not good:
        raise Malformed("carried value")
    return Carried(payload, source, path, rid, sid)


def token(data):
    if len(data) != 20:
        raise Malformed("token")
    if data[0] != 1:
        raise Version("token")
    if data[1] == 0:
        raise Malformed("token")
    return Token(data[1], int.from_bytes(data[2:4], "big"), bytes(data[4:]))


class DataKey:
    """The key of one window. Field keys of a person are kept, as the values of one person stand together."""

    __slots__ = ("kid", "_key", "_of", "_field")

    def __init__(self, key, commit=None):
        found = blake(256, b"weir1.commit", b"", key)
        if len(key) != 32 or commit is not None and found != commit:
            raise Commit("data key")
        self.kid, self._key, self._of, self._field = found[:16], bytes(key), None, None

    def __repr__(self):
        return f"<data key {self.kid.hex()}>"

    def _field_key(self, sid, secret):
        if self._of != (sid, secret):
            self._of, self._field = (sid, secret), blake(256, b"weir1.field", sid + secret, self._key)
        return self._field

    def open_plain(self, pipeline, at, secret=None):
        """The MessagePack bytes in at.payload. secret: the subject's 32 bytes, None: erased."""
        h = head(at.payload)
        if h.erased:
            raise Erased(at.path)
        if h.kid != self.kid:
            raise Key(at.path)
        sid, s = ZEROS, bytes(32)
        if h.bound:
            if at.sid is None:
                raise Auth(at.path)
            if secret is None:
                raise Erased(at.path)
            sid, s = at.sid, bytes(secret)
        aad = b"".join((at.payload[:PREFIX_BYTES], prefixed(pipeline), prefixed(at.source), prefixed(at.path), at.rid, sid))
        try:
            padded = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
                at.payload[HEAD_BYTES:], aad, at.payload[PREFIX_BYTES:HEAD_BYTES], self._field_key(sid, s))
        except nacl.exceptions.CryptoError:
            raise Auth(at.path) from None
        return _unpad(padded, h.padexp, at.path)

    def open(self, pipeline, at, secret=None):
        """The value in a Carried, in the order of checks that decides the error class."""
        return values.decode(self.open_plain(pipeline, at, secret))


def _unpad(padded, padexp, what):
    if not padexp:
        return padded
    if len(padded) % (1 << padexp):
        raise Padding(what)
    try:
        return sodium.sodium_unpad(padded, 1 << padexp)
    except (nacl.exceptions.CryptoError, nacl.exceptions.TypeError):
        raise Padding(what) from None
