"""Secret key files (WRK1): what a member holds."""

import os
import stat

import nacl.bindings as sodium
import nacl.exceptions

from .errors import Auth, Kdf, LowPoint, Malformed, Passphrase, Permissions, Recipient, System
from .octets import Octets, key_id

MAGIC = b"WRK1"
ROOT, SEALER, AUDIT, ESCROW, MEMBER, ROLE, TOKEN, RID = range(1, 9)
NAMES = {ROOT: "root", SEALER: "sealer", AUDIT: "audit", ESCROW: "escrow", MEMBER: "member", ROLE: "role",
         TOKEN: "token", RID: "rid"}
SIGNING, BOXES = (ROOT, SEALER, AUDIT), (ESCROW, MEMBER, ROLE)
KDF_NONE, KDF_ARGON2ID13 = 0, 1
HEAD_BYTES, LABEL_MAX, TAIL_BYTES = 58, 160, 48
OPSLIMIT_MAX = 10
MEMLIMIT_KIB_MIN, MEMLIMIT_KIB_MAX = 8, 2 * 1024 * 1024


class SecretKey:
    """One key of a file. The secret has no printing path: use the methods."""

    __slots__ = ("type", "label", "public", "id", "_secret")

    def __init__(self, type, label, secret):
        self.type, self.label, self._secret = type, label, bytes(secret)
        if type in SIGNING:
            self.public = sodium.crypto_sign_seed_keypair(self._secret)[0]
        elif type in BOXES:
            self.public = sodium.crypto_scalarmult_base(self._secret)
        else:
            self.public = None
        self.id = key_id(self.public) if self.public else None

    def __repr__(self):
        return f"<{NAMES[self.type]} key {self.label}>"

    def __getstate__(self):
        raise TypeError("a secret key is not to be pickled")

    __reduce__ = __reduce_ex__ = lambda self, *_: self.__getstate__()

    def unseal(self, box):
        """crypto_box_seal_open; Recipient when it is for another key."""
        if self.type not in BOXES:
            raise Recipient(self.label)
        try:
            return sodium.crypto_box_seal_open(bytes(box), self.public, self._secret)
        except (nacl.exceptions.CryptoError, nacl.exceptions.ValueError, nacl.exceptions.TypeError):
            raise Recipient(self.label) from None


def check_box(public):
    """LowPoint for a public key that gives an all-zero secret whatever the other side is."""
    try:
        sodium.crypto_scalarmult(b"\x01" * 32, bytes(public))
    except (RuntimeError, nacl.exceptions.RuntimeError, nacl.exceptions.ValueError):
        raise LowPoint("public key") from None


def check_sign(public):
    """LowPoint for a point off Ed25519's prime group."""
    if not sodium.crypto_core_ed25519_is_valid_point(bytes(public)):
        raise LowPoint("public key")


def permitted(mode, owner, euid):
    """
    Permissions unless it is a regular file for its owner alone, and the owner is we or root; root's
    may be read by its group, too, by whoever is not root (as Kubernetes mounts a Secret).
    """
    others = 0o037 if owner == 0 and euid != 0 else 0o077
    if not stat.S_ISREG(mode) or mode & others or owner not in (euid, 0):
        raise Permissions("key file")


def _read(path, most):
    """Bytes of the file that the path leads to, links followed, when it may hold a secret; no pipe is waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        permitted(found.st_mode, found.st_uid, os.geteuid())
        return os.read(fd, most)
    finally:
        os.close(fd)


def _key_of(kdf, passphrase, salt, opslimit, memlimit_kib):
    if kdf == KDF_NONE:
        return bytes(32)
    if passphrase is None or passphrase == b"":
        raise Passphrase("key file")
    try:
        return sodium.crypto_pwhash_alg(32, passphrase, salt, opslimit, memlimit_kib * 1024,
                                        sodium.crypto_pwhash_ALG_ARGON2ID13)
    except (nacl.exceptions.CryptoError, MemoryError):
        raise System("argon2id") from None


def _check_kdf(kdf, salt, opslimit, memlimit_kib):
    if kdf == KDF_NONE:
        good = opslimit == 0 and memlimit_kib == 0 and salt == bytes(16)
    else:
        good = (kdf == KDF_ARGON2ID13 and 1 <= opslimit <= OPSLIMIT_MAX
                and MEMLIMIT_KIB_MIN <= memlimit_kib <= MEMLIMIT_KIB_MAX)
    if not good:
        raise Kdf("key file")


def decode(data, passphrase=None):
    """The key in the bytes of a file. passphrase: bytes or text, None for a file without."""
    data = bytes(data)
    if len(data) < HEAD_BYTES or len(data) > HEAD_BYTES + LABEL_MAX + TAIL_BYTES:
        raise Malformed("key file")
    c = Octets(data, "key file")
    c.expect(MAGIC)
    type_, kdf = c.number(1), c.number(1)
    c.expect(b"\0\0")
    opslimit, memlimit_kib = c.number(4), c.number(4)
    salt, nonce, label = c.take(16), c.take(24), c.name()
    head, box = data[:c.at], c.take(c.left())
    if type_ not in NAMES or len(box) != TAIL_BYTES:
        raise Malformed("key file")
    _check_kdf(kdf, salt, opslimit, memlimit_kib)
    if isinstance(passphrase, str):
        passphrase = passphrase.encode()
    key = _key_of(kdf, passphrase, salt, opslimit, memlimit_kib)
    try:
        secret = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(box, head, nonce, key)
    except nacl.exceptions.CryptoError:
        raise (Passphrase if kdf else Auth)("key file") from None
    return SecretKey(type_, label, secret)


def read(path, passphrase=None):
    """Opens a key file; refuses one that is not permitted before a byte of it is read."""
    return decode(_read(path, HEAD_BYTES + LABEL_MAX + TAIL_BYTES + 1), passphrase)


def read_passphrase(path):
    """A passphrase from a file that is as private as the key's; one final newline is not part of it."""
    text = _read(path, 1026).removesuffix(b"\n")
    if not 1 <= len(text) <= 1024:
        raise Passphrase("passphrase file")
    return text
