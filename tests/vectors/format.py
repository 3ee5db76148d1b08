"""Weir's sealing formats a second time, from their descriptions alone: what make.py writes vectors with.

Only primitives come from libraries (PyNaCl, hashlib). Nothing here is random: nonces, ephemeral keys and stream
headers are derived from a label, so that the same vectors come out each time.
"""

import hashlib
import struct

from nacl import bindings as sodium


def derived(label, n=32):
    """n bytes that stand for random ones."""
    out = b""
    while len(out) < n:
        out += hashlib.sha256(f"weir vectors {label} {len(out)}".encode()).digest()
    return out[:n]


def b2b(bits, key, person, message):
    return hashlib.blake2b(message, digest_size=bits // 8, key=key or b"", person=person.encode()).digest()


def L(x):
    x = x.encode() if isinstance(x, str) else x
    return struct.pack(">H", len(x)) + x


# ---- MessagePack, as small as it can be ----

def nil():
    return b"\xc0"


def boolean(v):
    return b"\xc3" if v else b"\xc2"


def integer(v):
    if v >= 0:
        for top, head, form in ((0x7F, None, ">B"), (0xFF, 0xCC, ">B"), (0xFFFF, 0xCD, ">H"), (0xFFFFFFFF, 0xCE, ">I")):
            if v <= top:
                return (bytes([head]) if head else b"") + struct.pack(form, v)
        return b"\xcf" + struct.pack(">Q", v)
    for low, head, form in ((-0x20, None, ">b"), (-0x80, 0xD0, ">b"), (-0x8000, 0xD1, ">h"), (-0x80000000, 0xD2, ">i")):
        if v >= low:
            return (bytes([head]) if head else b"") + struct.pack(form, v)
    return b"\xd3" + struct.pack(">q", v)


def real(v):
    return b"\xcb" + struct.pack(">d", v)


def text(s):
    b = s if isinstance(s, bytes) else s.encode()
    n = len(b)
    if n < 32:
        return bytes([0xA0 | n]) + b
    if n < 256:
        return b"\xd9" + bytes([n]) + b
    return (b"\xda" + struct.pack(">H", n) if n < 65536 else b"\xdb" + struct.pack(">I", n)) + b


def binary(b):
    n = len(b)
    if n < 256:
        return b"\xc4" + bytes([n]) + b
    return (b"\xc5" + struct.pack(">H", n) if n < 65536 else b"\xc6" + struct.pack(">I", n)) + b


def array(*items):
    n = len(items)
    return (bytes([0x90 | n]) if n < 16 else b"\xdc" + struct.pack(">H", n)) + b"".join(items)


def ext(kind, b):
    n = len(b)
    if n in (1, 2, 4, 8, 16):
        return bytes([{1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}[n], kind]) + b
    if n < 256:
        return b"\xc7" + bytes([n, kind]) + b
    return b"\xc8" + struct.pack(">H", n) + bytes([kind]) + b


def decimal(units, scale):
    n = 1
    while not -(1 << (8 * n - 1)) <= units < 1 << (8 * n - 1):
        n += 1
    return ext(1, bytes([scale]) + units.to_bytes(n, "big", signed=True))


def date(days):
    return ext(2, struct.pack(">q", days))


def timestamp(us):
    return ext(3, struct.pack(">q", us))


def json_text(s):
    return ext(4, s.encode())


# ---- sealed fields ----

def commit(key):
    return b2b(256, key, "weir1.commit", b"")


def aad(prefix, where, rid, sid):
    return prefix + L(where["pipeline"]) + L(where["source"]) + L(where["field"]) + rid + (sid or bytes(16))


def pad(plain, padexp):
    if not padexp:
        return plain
    block = 1 << padexp
    return plain + b"\x80" + bytes(block - 1 - len(plain) % block)


def seal_padded(key, where, rid, sid, s, padded, padexp, random, flags=None, nonce=None):
    """A payload of bytes that are padded already, also wrongly."""
    flags = (1 if sid else 0) if flags is None else flags
    prefix = bytes([1, 1, flags, padexp]) + commit(key)[:16]
    ad = aad(prefix, where, rid, sid)
    fk = b2b(256, key, "weir1.field", (sid or bytes(16)) + (s or bytes(32)))
    nk = b2b(256, key, "weir1.nonce", b"")
    nonce = nonce or b2b(192, nk, "weir1.nonce", random + ad + padded)
    return prefix + nonce + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(padded, ad, nonce, fk)


def seal(key, where, rid, sid, s, plain, padexp, random):
    return seal_padded(key, where, rid, sid, s, pad(plain, padexp), padexp, random)


# ---- tokens ----

def domain(name):
    return b2b(128, None, "weir1.domain", name.encode())[:2]


def token(key, name, epoch, canonical):
    return bytes([1, epoch]) + domain(name) + b2b(128, key, "weir1.token", canonical)


def sid_of(key, canonical):
    return b2b(128, key, "weir1.sid", canonical)


# ---- keys ----

def box_public(secret):
    return sodium.crypto_scalarmult_base(secret)


def sign_pair(seed):
    return sodium.crypto_sign_seed_keypair(seed)  # public, secret


def sign(seed, context, message):
    secret = sign_pair(seed)[1]
    return sodium.crypto_sign(context.encode() + b"\0" + message, secret)[:64]


def key_id(pk):
    return hashlib.blake2b(pk, digest_size=16).digest()


def box_seal(message, pk, label):
    """crypto_box_seal with an ephemeral key that is derived from a label."""
    esk = derived("ephemeral " + label)
    epk = box_public(esk)
    nonce = hashlib.blake2b(epk + pk, digest_size=24).digest()
    return epk + sodium.crypto_box(message, nonce, pk, esk)


def wrap(key, pk, label):
    return b"\x01" + key_id(pk) + box_seal(key, pk, label)


def core_body(key, not_before, not_after, sealer_pk, policy_hash, pipeline, name, kid=None, suite=1, zeros=bytes(3)):
    c = commit(key)
    return (b"WRE1" + bytes([suite]) + zeros + (kid or c[:16]) + c + struct.pack(">QQ", not_before, not_after)
            + (key_id(sealer_pk) if sealer_pk else bytes(16)) + policy_hash + L(pipeline) + L(name))


def core(key, not_before, not_after, sealer_seed, policy_hash, pipeline, name, **other):
    body = core_body(key, not_before, not_after, sign_pair(sealer_seed)[0], policy_hash, pipeline, name, **other)
    return body + sign(sealer_seed, "WRE1-core", body)


def envelope(core_bytes, wraps):
    return struct.pack(">H", len(core_bytes)) + core_bytes + bytes([len(wraps)]) + b"".join(wraps)


KEY_TYPES = {"root": 1, "sealer": 2, "audit": 3, "escrow": 4, "member": 5, "role": 6, "token": 7, "rid": 8}


def keyfile(kind, label, secret, passphrase=None, ops=1, kib=8, salt=None, nonce=None, kdf=None, zero=0, run=None):
    """run: (ops, kib) that the AEAD key is really made with, where those in the head are out of bounds."""
    if passphrase is None:
        ops, kib, salt = (0, 0, salt or bytes(16)) if run is None else (ops, kib, salt or bytes(16))
        aead = bytes(32)
    else:
        salt = salt or derived("salt " + label, 16)
        real_ops, real_kib = run or (ops, kib)
        aead = sodium.crypto_pwhash_alg(32, passphrase, salt, real_ops, real_kib * 1024,
                                        sodium.crypto_pwhash_ALG_ARGON2ID13)
    nonce = nonce or derived("keyfile nonce " + label, 24)
    kdf = (0 if passphrase is None else 1) if kdf is None else kdf
    kind = KEY_TYPES.get(kind, kind)
    head = b"WRK1" + struct.pack(">BBHII", kind, kdf, zero, ops, kib) + salt + nonce + L(label)
    return head + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(secret, head, nonce, aead)


# ---- policy ----

def policy_body(p):
    names = lambda l: array(*map(text, l))
    return array(
        integer(p["serial"]), integer(p["not_before"]), integer(p["not_after"]), text(p["pipeline"]),
        array(*(array(text(n), names(r)) for n, r in p["classes"])),
        array(*(array(text(n), integer(e), binary(pk)) for n, e, pk in p["roles"])),
        binary(p["escrow"]), array(*map(binary, p["sealers"])), binary(p["audit"]),
        array(*(array(text(s), text(f), text(c), text(d), integer(form), integer(pad), boolean(b), array(*map(binary, ds)))
                for s, f, c, d, form, pad, b, ds in p["sensitive"])),
        text(p["unknown"]),
        array(*(array(text(n), binary(pk), names(r)) for n, pk, r in p["members"])),
        array(*(array(text(n), names(c), names(m), binary(q), text(why)) for n, c, m, q, why in p["handoffs"])),
        array(*(array(text(n), text(w), array(*(array(text(f), text(d), integer(form), boolean(b)) for f, d, form, b in clear)))
                for n, w, clear in p["sources"])),
        tokens(p))


def tokens(p):
    return array(*(array(text(d), integer(e), binary(i)) for d, e, i in p["tokens"]))


def token_key_id(key):
    return b2b(128, key, "weir1.tokenkey", b"")


def policy_file(body, root_seed):
    head = b"WRP1" + struct.pack(">I", len(body)) + body
    return head + (sign(root_seed, "WRP1-policy", head) if root_seed else bytes(64))


def policy_hash(file):
    return b2b(128, None, "weir1.policy", file)


def derive_digest(name, expression):
    return b2b(128, None, "weir1.derive", L(name) + L(expression))


def query_digest(query):
    return b2b(128, None, "weir1.query", query.encode())


# ---- hand-over ----

def handover_head(key, created, policy, pipeline, name, form, purpose, wraps, suite=1, kid=None):
    c = commit(key)
    return (b"WRH1" + bytes([suite, 0, 0, 0]) + (kid or c[:16]) + c + struct.pack(">Q", created) + policy + L(pipeline)
            + L(name) + L(form) + L(purpose) + bytes([len(wraps)]) + b"".join(wraps))


def handover_stream(key, head, plain, label, chunk=65536, tags=None):
    """(stream header, [chunk with its length ...])"""
    header = derived("stream header " + label, 24)
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    # A state of a given header: opening and writing begin with the same one.
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header, b2b(256, key, "weir1.handover", b""))
    bind = b2b(256, None, "weir1.handover", head)
    parts = [plain[i:i + chunk] for i in range(0, len(plain), chunk)] or [b""]
    out = []
    for i, part in enumerate(parts):
        tag = (tags or {}).get(i, 3 if i == len(parts) - 1 else 0)
        sealed = sodium.crypto_secretstream_xchacha20poly1305_push(state, part, bind, tag)
        out.append(struct.pack(">I", len(sealed)) + sealed)
    return header, out
