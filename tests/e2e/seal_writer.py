"""A second implementation of what seals, from the documents alone and for tests alone: it makes the inputs that the
reader is held against, well-formed ones and wrong ones."""

import hashlib
import os

import msgpack
import nacl.bindings as sodium


def b2(bits, person, message, key=b""):
    return hashlib.blake2b(message, digest_size=bits // 8, key=key, person=person).digest()


def ident(public):
    return hashlib.blake2b(public, digest_size=16).digest()


def lp(text):
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


# ---- keys ----
class Box:
    """An X25519 pair."""

    def __init__(self, seed=None):
        self.secret = seed or os.urandom(32)
        self.public = sodium.crypto_scalarmult_base(self.secret)
        self.id = ident(self.public)


class Signer:
    """An Ed25519 pair."""

    def __init__(self, seed=None):
        self.secret = seed or os.urandom(32)
        self.public, self._key = sodium.crypto_sign_seed_keypair(self.secret)
        self.id = ident(self.public)

    def sign(self, context, message):
        return sodium.crypto_sign(context + b"\0" + message, self._key)[:64]


TYPES = {"root": 1, "sealer": 2, "audit": 3, "escrow": 4, "member": 5, "role": 6, "token": 7, "rid": 8}


def key_file(type_, label, secret, passphrase=None, opslimit=1, memlimit_kib=8, salt=None, real=None):
    """WRK1. real: (opslimit, KiB) the key is really derived with, where the file says others."""
    kdf = 0 if passphrase is None else 1
    salt = bytes(16) if not kdf else salt or os.urandom(16)
    if not kdf:
        opslimit = memlimit_kib = 0
    nonce = os.urandom(24)
    head = (b"WRK1" + bytes([TYPES.get(type_, type_), kdf]) + b"\0\0" + opslimit.to_bytes(4, "big")
            + memlimit_kib.to_bytes(4, "big") + salt + nonce + lp(label))
    key = bytes(32)
    if kdf:
        ops, kib = real or (opslimit, memlimit_kib)
        key = sodium.crypto_pwhash_alg(32, passphrase, salt, ops, kib * 1024, sodium.crypto_pwhash_ALG_ARGON2ID13)
    return head + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(secret, head, nonce, key)


# ---- values ----
def decimal(units, scale):
    n = max(1, (units.bit_length() + 8) // 8)
    return msgpack.ExtType(1, bytes([scale]) + units.to_bytes(n, "big", signed=True))


def date(days):
    return msgpack.ExtType(2, days.to_bytes(8, "big", signed=True))


def timestamp(micros):
    return msgpack.ExtType(3, micros.to_bytes(8, "big", signed=True))


def json_text(text):
    return msgpack.ExtType(4, text.encode())


def plain(value):
    return msgpack.packb(value, use_bin_type=True)


# ---- sealed fields ----
class DataKey:
    def __init__(self, key=None):
        self.key = key or os.urandom(32)
        self.commit = b2(256, b"weir1.commit", b"", self.key)
        self.kid = self.commit[:16]

    def field(self, sid, secret):
        return b2(256, b"weir1.field", (sid or bytes(16)) + (secret or bytes(32)), self.key)

    def seal(self, packed, pipeline, source, path, rid, sid=None, secret=None, padexp=4, head=None, padded=None):
        """packed: MessagePack bytes. head: other first four bytes. padded: the padded plaintext, as a whole."""
        prefix = (head or bytes([1, 1, 1 if sid else 0, padexp])) + self.kid
        aad = prefix + lp(pipeline) + lp(source) + lp(path) + rid + (sid or bytes(16))
        if padded is None:
            padded = sodium.sodium_pad(packed, 1 << padexp) if padexp else packed
        nonce = b2(192, b"weir1.nonce", os.urandom(16) + aad + padded, b2(256, b"weir1.nonce", b"", self.key))
        return prefix + nonce + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(padded, aad, nonce,
                                                                                   self.field(sid, secret))


def carried(payload, source, path, rid, sid=None):
    return msgpack.packb([payload, source, path, rid, sid], use_bin_type=True)


# ---- envelopes ----
def wrap(data_key, public):
    return b"\x01" + ident(public) + sodium.crypto_box_seal(data_key.key, public)


def core(data_key, sealer, policy_file, pipeline, class_name, not_before, not_after, **other):
    c = {"magic": b"WRE1\x01\0\0\0", "kid": data_key.kid, "commit": data_key.commit, "sealer": sealer.id, **other}
    data = (c["magic"] + c["kid"] + c["commit"] + not_before.to_bytes(8, "big") + not_after.to_bytes(8, "big")
            + c["sealer"] + b2(128, b"weir1.policy", policy_file) + lp(pipeline) + lp(class_name))
    return data + sealer.sign(b"WRE1-core", data)


# ---- policies ----
def policy(root, body):
    packed = msgpack.packb(body, use_bin_type=True) if isinstance(body, list) else body
    data = b"WRP1" + len(packed).to_bytes(4, "big") + packed
    return data + root.sign(b"WRP1-policy", data)


def policy_body(pipeline, role, escrow, sealer, audit, member, member_name="ana", role_name="data_science", **other):
    """The 15 fields; `other` replaces some by number: f9=[...]."""
    body = [1, 0, 2**62, pipeline, [["financial", [role_name]], ["dead_letter", [role_name]]],
            [[role_name, 1, role.public]], escrow.public, [sealer.public], audit.public,
            [["application", "amount", "financial", "", 0, 4, False, []]], "", [[member_name, member.public, [role_name]]],
            [], [["application", "file application", []]], []]
    for key, value in other.items():
        body[int(key[1:])] = value
    return body


# ---- hand-over files ----
CHUNK = 64 * 1024


def handover(data_key, publics, content, pipeline="loans", name="risk", format="ndjson", purpose="test", chunk=CHUNK,
             final=True, head_magic=b"WRH1\x01\0\0\0"):
    head = (head_magic + data_key.kid + data_key.commit + (1_700_000_000_000).to_bytes(8, "big") + bytes(16)
            + lp(pipeline) + lp(name) + lp(format) + lp(purpose) + bytes([len(publics)])
            + b"".join(wrap(data_key, p) for p in publics))
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    out = head + sodium.crypto_secretstream_xchacha20poly1305_init_push(
        state, b2(256, b"weir1.handover", b"", data_key.key))
    bound = b2(256, b"weir1.handover", head)
    pieces = [content[i:i + chunk] for i in range(0, len(content), chunk)] or [b""]
    for n, piece in enumerate(pieces):
        last = final and n == len(pieces) - 1
        tag = (sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL if last
               else sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE)
        sealed = sodium.crypto_secretstream_xchacha20poly1305_push(state, piece, bound, tag)
        out += len(sealed).to_bytes(4, "big") + sealed
    return out
