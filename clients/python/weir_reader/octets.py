"""What every format is made of: BLAKE2b with a personalisation, length-prefixed names, a cursor over bytes."""

import hashlib

from .errors import Malformed


def blake(bits, person, message, key=b""):
    """B2b-N(key, person, message)."""
    return hashlib.blake2b(message, digest_size=bits // 8, key=key, person=person).digest()


def key_id(public):
    """The name of a public key: recipient of a wrap, sealer of a core."""
    return hashlib.blake2b(public, digest_size=16).digest()


def prefixed(text):
    """L(x): u16 length and the bytes."""
    raw = text.encode() if isinstance(text, str) else bytes(text)
    return len(raw).to_bytes(2, "big") + raw


class Octets:
    """Reads from the front; everything that is not there is Malformed."""

    def __init__(self, data, what="bytes"):
        self.data, self.at, self.what = bytes(data), 0, what

    def left(self):
        return len(self.data) - self.at

    def take(self, n):
        if n > self.left():
            raise Malformed(self.what)
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), "big")

    def name(self, most=65535, least=0):
        """L(x) as text."""
        n = self.number(2)
        if not least <= n <= most:
            raise Malformed(self.what)
        try:
            return self.take(n).decode()
        except UnicodeDecodeError:
            raise Malformed(self.what) from None

    def expect(self, wanted):
        if self.take(len(wanted)) != wanted:
            raise Malformed(self.what)

    def end(self):
        if self.left():
            raise Malformed(self.what)
