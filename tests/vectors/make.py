#!/usr/bin/env python3
"""Writes sealing.json from format.py, which is not the implementation under test. make.py > sealing.json
make.py --seeds DIRECTORY writes a fuzzer's seeds instead: its formats' number, then the bytes.

Every vector says what must come out; nothing here asks the C code. The same output each time.
"""

import hashlib
import json
import pathlib
import struct
import sys

import format as f
ABOUT = [
    "Vectors of Weir's sealing formats. Byte layouts and the order of checks stand in the headers of proto/seal.",
    "Every vector: id, kind, words, in, error, out. error is a name of proto/seal/error.h; out is there when it is ok.",
    "Byte strings are lower-case hex; moments are milliseconds since 1970; null is absence.",
    "A byte string may also be {\"blob\": name, \"slices\": [[from, to], ...]}: those bytes of blobs[name], one after another.",
    "in.policy is a name of policies; its root key is in.root where one is given, else roots.good.",
]
KINDS = {
    "field": "in: key, pipeline, source, field, rid, sid, s, payload; random: a writer that draws it, of out.plain, "
             "with the payload's padexp, gives exactly payload. out: plain (MessagePack), type, text (canonical; "
             "null for null), raw (the bytes of a bin, else null)",
    "token": "in: key, domain, epoch, form (as_is, digits, lower, cpf), type, text. out: canonical (hex, or null: the "
             "value has no such form, then no token), token, sid, id (of the key, in a policy)",
    "token_bytes": "in: payload. out: epoch, domain (number), hash",
    "core": "in: core, policy. out: kid, commit, not_before, not_after, pipeline, class",
    "wrap": "in: wrap, secret (X25519), commit. out: key",
    "envelope": "in: envelope, policy, secret: the opening order up to the data key. out: key, class",
    "admit": "the keeper's judgement. in: core (unsigned), wraps, policy, now. out: class",
    "keyfile": "in: file, passphrase (hex or null). out: type, label, secret",
    "permissions": "in: mode (octal, as fstat gives it), owner, euid. out: {}",
    "policy": "in: policy, root, pipeline, serial_min, now. out: serial, hash, pipeline",
    "root": "in: old_root, pipeline, serial, new_root, signature. out: {}",
    "public": "in: use (box, sign), pk. out: {}",
    "role": "a role's secret sealed to a member. in: sealed, secret (the member's), role, epoch, pk. out: secret",
    "handover": "in: file, secret. out: pipeline, name, format, purpose, created, sha256 and length of the content, "
                "the content where it is short, else null",
    "audit": "in: prev, text. out: hash",
    "audit_head": "in: audit (public key), pipeline, id, hash, at, signature. out: {}",
}

vectors, blobs, policies = [], {}, {}
h = lambda b: None if b is None else b.hex()


def add(kind, name, words, inside, error="ok", out=None):
    assert (out is not None) == (error == "ok"), name
    assert all(v["id"] != f"{kind}/{name}" for v in vectors), name
    vectors.append({"id": f"{kind}/{name}", "kind": kind, "words": words, "in": inside, "error": error, "out": out})


def flip(b, at, mask=1):
    return b[:at] + bytes([b[at] ^ mask]) + b[at + 1:]


# ---- fields ----

KEY, OTHER_KEY = f.derived("data key"), f.derived("another data key")
WHERE = {"pipeline": "loans", "source": "offer@main#1", "field": "customer.cpf"}
RID, SID, S = f.derived("rid", 16), f.derived("sid", 16), f.derived("subject secret")
RANDOM = f.derived("random", 16)


def field(name, words, payload, error="ok", out=None, key=KEY, where=WHERE, rid=RID, sid=None, s=None, random=None):
    inside = {"key": h(key), **where, "rid": h(rid), "sid": h(sid), "s": h(s), "payload": h(payload)}
    if random:
        inside["random"] = h(random)
    add("field", name, words, inside, error, out)


def value(plain, kind, text=None, raw=None):
    return {"plain": h(plain), "type": kind, "text": text, "raw": h(raw)}


def field_good(name, words, plain, kind, text=None, raw=None, padexp=5, where=WHERE, bound=True, random=RANDOM, key=KEY):
    sid, s = (SID, S) if bound else (None, None)
    payload = f.seal(key, where, RID, sid, s, plain, padexp, random)
    field(name, words, payload, out=value(plain, kind, text, raw), where=where, sid=sid, s=s, random=random, key=key)
    return payload


def fields_good():
    field_good("text", "a text, bound to a person", f.text("123.456.789-09"), "text", "123.456.789-09")
    field_good("text_unbound", "the same without a person", f.text("123.456.789-09"), "text", "123.456.789-09", bound=False)
    field_good("text_empty", "presence is data: an empty text is sealed too", f.text(""), "text", "")
    field_good("text_utf8", "characters of 1 to 4 bytes", f.text("aé€\U0001f600"), "text", "aé€\U0001f600")
    field_good("text_31", "the longest text with a one-byte head", f.text("x" * 31), "text", "x" * 31)
    field_good("text_32", "one byte more", f.text("x" * 32), "text", "x" * 32)
    field_good("text_300", "a text with a two-byte length", f.text("y" * 300), "text", "y" * 300)
    field_good("null", "null is sealed too", f.nil(), "null")
    field_good("null_unpadded", "the shortest payload there is", f.nil(), "null", padexp=0, bound=False)
    field_good("true", "a boolean", f.boolean(True), "boolean", "true", padexp=4)
    field_good("false", "a boolean", f.boolean(False), "boolean", "false", padexp=4)
    for n in (0, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, 9223372036854775807,
              -1, -32, -33, -128, -129, -32768, -32769, -2147483648, -2147483649, -9223372036854775808):
        field_good(f"integer_{n}", "an integer at an edge of MessagePack's sizes", f.integer(n), "integer", str(n), padexp=4)
    field_good("float", "a float", f.real(-1234.5), "float", "-1234.5", padexp=4)
    field_good("decimal", "money", f.decimal(123456, 2), "decimal", "1234.56", padexp=4)
    field_good("decimal_zero", "zero keeps its scale", f.decimal(0, 2), "decimal", "0.00", padexp=4)
    field_good("decimal_minus", "a negative one, one byte", f.decimal(-128, 0), "decimal", "-128", padexp=4)
    field_good("decimal_129", "needs a second byte for its sign", f.decimal(-129, 1), "decimal", "-12.9", padexp=4)
    field_good("decimal_largest", "38 digits, scale 18", f.decimal(10**38 - 1, 18), "decimal", "9" * 20 + "." + "9" * 18)
    field_good("date", "a date", f.date(15248), "date", "2011-10-01", padexp=4)
    field_good("date_early", "a date before 1970", f.date(-719162), "date", "0001-01-01", padexp=4)
    field_good("timestamp", "a moment", f.timestamp(1317429524546000), "timestamp", "2011-10-01T00:38:44.546Z", padexp=4)
    field_good("timestamp_1969", "a moment before 1970", f.timestamp(-1), "timestamp", "1969-12-31T23:59:59.999999Z", padexp=4)
    field_good("json", "an array is sealed whole, as json", f.json_text('[{"a":1},null]'), "json", '[{"a":1},null]', padexp=8)
    field_good("json_empty_object", "an empty object", f.json_text("{}"), "json", "{}", padexp=8)
    raw = b'{"cpf":\xff\x00'
    field_good("raw", "a dead letter's event: any bytes", f.binary(raw), "raw", None, raw, padexp=8,
               where={**WHERE, "field": "$event"}, bound=False)
    field_good("raw_empty", "an event without bytes", f.binary(b""), "raw", None, b"", padexp=8,
               where={**WHERE, "field": "$event"}, bound=False)
    for e in (0, 4, 5, 6, 7, 8, 9, 10, 11, 12):
        field_good(f"padexp_{e}", "each padding that is allowed", f.text("padded"), "text", "padded", padexp=e)
    for n in (14, 15, 16):
        field_good(f"padding_{n}", "around a whole block: a value that fits exactly gets another one", f.text("z" * n),
                   "text", "z" * n, padexp=4)
    field_good("name_longest", "longest names", f.text("x"), "text", "x",
               where={"pipeline": "p" * 63, "source": "s" * 191, "field": "f" * 255})
    field_good("name_utf8", "names that are not ASCII", f.text("x"), "text", "x",
               where={"pipeline": "préstamos", "source": "évents@é#1", "field": "chave.ção"})
    field_good("name_empty_cluster", "a file's label has no cluster", f.integer(7), "integer", "7", padexp=4,
               where={**WHERE, "source": "history@#1"})
    field_good("unknown", "undeclared fields, sealed together", f.json_text('{"x":1}'), "json", '{"x":1}', padexp=8,
               where={**WHERE, "field": "$unknown"})
    field_good("random_zero", "a stuck generator still gives a payload", f.text("a"), "text", "a", random=bytes(16))
    field_good("random_zero_other", "and another nonce for another value", f.text("b"), "text", "b", random=bytes(16))


def fields_bad():
    plain = f.text("123.456.789-09")
    good = f.seal(KEY, WHERE, RID, SID, S, plain, 5, RANDOM)
    bad = lambda name, words, payload, error, **k: field(name, words, payload, error, **{"sid": SID, "s": S, **k})
    for at in range(4, len(good)):
        part = "kid" if at < 20 else "nonce" if at < 44 else "tag" if at >= len(good) - 16 else "ciphertext"
        bad(f"flip_{at:03}", f"a bit of the {part} flipped", flip(good, at, 1 << at % 8), "key" if at < 20 else "auth")
    for v in (0, 2, 0x81):
        bad(f"version_{v}", "an unknown version", bytes([v]) + good[1:], "version")
    for v in (0, 2, 0xFF):
        bad(f"suite_{v}", "an unknown suite", good[:1] + bytes([v]) + good[2:], "suite")
    for v in (3, 4, 5, 0x80):
        bad(f"flags_{v}", "an unknown flag", good[:2] + bytes([v]) + good[3:], "flags")
    bad("flags_unbound", "the binding to a person taken off", good[:2] + b"\0" + good[3:], "auth")
    for v in (1, 2, 3, 13, 0x85):
        bad(f"padexp_{v}_not_allowed", "a padding that does not exist", good[:3] + bytes([v]) + good[4:], "padding")
    for v in (0, 4, 6):
        bad(f"padexp_{v}_instead_of_5", "another padding than the sealed one", good[:3] + bytes([v]) + good[4:], "auth")
    for n in (0, 3, 20, 44, 60):
        bad(f"cut_{n}", "cut short", good[:n], "malformed")
    bad("cut_61", "as long as the shortest payload, but cut", good[:61], "auth")
    bad("cut_last", "the last byte missing", good[:-1], "auth")
    bad("longer", "a byte more", good + b"\0", "auth")
    bad("rid", "pasted into another record", good, "auth", rid=f.derived("another rid", 16))
    bad("sid", "another person", good, "auth", sid=f.derived("another sid", 16))
    bad("subject", "another subject secret", good, "auth", s=f.derived("another secret"))
    bad("field", "moved to another field", good, "auth", where={**WHERE, "field": "customer.name"})
    bad("source", "moved to another source", good, "auth", where={**WHERE, "source": "offer@main#2"})
    bad("pipeline", "pasted into another pipeline", good, "auth", where={**WHERE, "pipeline": "loans2"})
    bad("boundary", "a byte moved from source to field", good, "auth",
        where={**WHERE, "source": "offer@main#1c", "field": "ustomer.cpf"})
    bad("key", "another data key", good, "key", key=OTHER_KEY)
    bad("erased", "the erased form", bytes([1, 1, 2, 0]), "erased")
    bad("erased_unbound", "the erased form of a record without a person", bytes([1, 1, 2, 0]), "erased", sid=None, s=None)
    bad("erased_longer", "the erased form with something behind it", bytes([1, 1, 2, 0, 0]), "malformed")
    bad("erased_padded", "the erased form with a padding", bytes([1, 1, 2, 4]), "padding")
    bad("erased_bound", "flags of which only one may stand", bytes([1, 1, 3, 0]), "flags")
    bad("subject_gone", "the person's secret was deleted", good, "erased", s=None)
    unbound = f.seal(KEY, WHERE, RID, None, None, plain, 5, RANDOM)
    field("unbound_with_subject", "not bound: a person who is given is not looked at", unbound, sid=SID, s=S,
          out=value(plain, "text", "123.456.789-09"))
    bad("bound_forced", "an unbound value claimed to be bound", unbound[:2] + b"\1" + unbound[3:], "auth")
    sealed = lambda padded, padexp: f.seal_padded(KEY, WHERE, RID, SID, S, padded, padexp, RANDOM)
    bad("unpadded", "padding promised, none there", sealed(b"\xa1x" * 8, 4), "padding")
    bad("padding_zeros", "a block of zeros", sealed(bytes(16), 4), "padding")
    bad("padding_short", "shorter than one block", sealed(b"\xa1x\x80", 4), "padding")
    bad("padding_mark", "another mark than 0x80", sealed(b"\xa1x\x40" + bytes(13), 4), "padding")
    bad("value_none", "no value inside", sealed(b"\x80" + bytes(15), 4), "value")
    inside = {
        "two": f.nil() + f.nil(), "cut": b"\xa5abc", "float32": b"\xca\x3f\x80\0\0", "nan": b"\xcb\x7f\xf8" + bytes(6),
        "array": f.array(f.nil()), "map": b"\x81\xa1a\x01", "reserved": b"\xc1", "ext": f.ext(9, b"abcd"),
        "sealed": f.ext(0x53, bytes([1, 1, 2, 0])), "token": f.ext(0x54, bytes(20)), "huge": b"\xcf" + b"\xff" * 8,
        "utf8": f.text(b"\xff\xfe"), "nul": f.text("a\0b"), "json_utf8": f.ext(4, b"\xc3("),
        "decimal_scale": f.ext(1, bytes([19, 1])), "decimal_empty": f.ext(1, bytes([2])),
        "decimal_long": f.ext(1, bytes([0]) + b"\1" * 17), "date_short": f.ext(2, bytes(4)), "length": b"\xdb\xff\xff\xff\xff",
    }
    for name, plain in inside.items():
        bad(f"value_{name}", "authentic, but not exactly one value", sealed(f.pad(plain, 4), 4), "value")
    field("value_long_form", "an integer in a longer form than needed is still that integer",
          sealed(f.pad(b"\xd3" + bytes(7) + b"\x07", 4), 4), sid=SID, s=S, out=value(b"\xd3" + bytes(7) + b"\x07", "integer", "7"))


# ---- tokens ----

TOKEN_KEY = f.derived("token key")


def tokens():
    def token(name, words, form, kind, text, canonical, epoch=1, domain="customer"):
        c = None if canonical is None else canonical.encode()
        out = {"canonical": h(c), "token": None, "sid": None, "id": h(f.token_key_id(TOKEN_KEY))}
        if c is not None:
            out["token"] = h(f.token(TOKEN_KEY, domain, epoch, c))
            out["sid"] = h(f.sid_of(TOKEN_KEY, c))
        add("token", name, words, {"key": h(TOKEN_KEY), "domain": domain, "epoch": epoch, "form": form, "type": kind,
                                   "text": text}, out=out)
    token("cpf", "a CPF as people write it", "cpf", "text", "123.456.789-09", "12345678909")
    token("cpf_plain", "and as machines do: the same token", "cpf", "text", "12345678909", "12345678909")
    token("cpf_short", "ten digits are no CPF", "cpf", "text", "1234567890", None)
    token("cpf_long", "nor are twelve", "cpf", "text", "123456789090", None)
    token("cpf_letters", "nor letters", "cpf", "text", "123.456.789-0X", None)
    token("cpf_blank", "nor a blank", "cpf", "text", "123 456 789 09", None)
    token("cpf_arabic", "digits are ASCII's", "cpf", "text", "١٢٣٤٥٦٧٨٩٠٩", None)
    token("digits", "separators removed", "digits", "text", "+55 (11) 91234-5678", "5511912345678")
    token("digits_none", "separators alone", "digits", "text", "--", None)
    token("digits_letters", "not digits", "digits", "text", "12a", None)
    token("lower", "an address", "lower", "text", "  Ana.Souza@Example.COM\t", "ana.souza@example.com")
    token("lower_utf8", "ASCII alone is lower-cased", "lower", "text", "ÉCOLE A", "École a")
    token("lower_blank", "blanks alone", "lower", "text", " \t\r\n", None)
    token("as_is", "the bytes as they are", "as_is", "text", " Ana ", " Ana ")
    token("as_is_empty", "an empty text has no form", "as_is", "text", "", None)
    token("as_is_1024", "the longest", "as_is", "text", "k" * 1024, "k" * 1024)
    token("as_is_1025", "too long", "as_is", "text", "k" * 1025, None)
    token("integer", "an integer in plain digits", "as_is", "integer", "42", "42")
    token("integer_cpf", "a number that has lost its leading zero is no CPF", "cpf", "integer", "1234567890", None)
    token("decimal", "a decimal keeps its scale", "as_is", "decimal", "10.50", "10.50")
    token("date", "a date", "as_is", "date", "2011-10-01", "2011-10-01")
    token("timestamp", "a moment", "as_is", "timestamp", "2011-10-01T00:38:44.546Z", "2011-10-01T00:38:44.546Z")
    token("boolean", "a boolean", "as_is", "boolean", "true", "true")
    token("null", "null has none", "as_is", "null", None, None)
    token("float", "a float has none: it has no one text", "as_is", "float", "1.5", None)
    token("json", "json has none: it has no one text", "as_is", "json", "{}", None)
    token("epoch", "another epoch, another head", "as_is", "text", "a", "a", epoch=255)
    token("domain", "another domain", "as_is", "text", "a", "a", domain="staff")
    good = f.token(TOKEN_KEY, "customer", 3, b"12345678909")
    bad = lambda name, words, p, error: add("token_bytes", name, words, {"payload": h(p)}, error)
    add("token_bytes", "good", "a token's bytes", {"payload": h(good)},
        out={"epoch": 3, "domain": struct.unpack(">H", f.domain("customer"))[0], "hash": h(good[4:])})
    bad("version", "an unknown version", b"\2" + good[1:], "version")
    bad("short", "cut short", good[:-1], "malformed")
    bad("long", "a byte more", good + b"\0", "malformed")
    bad("epoch", "no epoch", good[:1] + b"\0" + good[2:], "malformed")


# ---- policies ----

ROOT, OTHER_ROOT, SEALER, OTHER_SEALER, AUDIT = (f.derived(n) for n in ("root", "root 2", "sealer", "sealer 2", "audit"))
SCIENCE, FRAUD, ESCROW, ANA, BIA = (f.derived(n) for n in ("role science", "role fraud", "escrow", "ana", "bia"))
FROM, UNTIL, NOW = 1_700_000_000_000, 1_900_000_000_000, 1_800_000_000_000
LOW = [bytes(32), b"\1" + bytes(31), bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
       bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
       bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
       bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
       bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")]


def policy_good():
    return {
        "serial": 7, "not_before": FROM, "not_after": UNTIL, "pipeline": "loans",
        "classes": [("financial", ["data_science"]), ("identity", ["data_science", "fraud"]), ("dead_letter", ["data_science"])],
        "roles": [("data_science", 2, f.box_public(SCIENCE)), ("fraud", 1, f.box_public(FRAUD))],
        "escrow": f.box_public(ESCROW), "sealers": [f.sign_pair(SEALER)[0]], "audit": f.sign_pair(AUDIT)[0],
        "sensitive": [("offer", "customer.cpf", "identity", "customer", 3, 4, True, []),
                      ("offer", "income", "financial", "", 0, 0, False, [f.derive_digest("rich", "income > 100000")])],
        "unknown": "",
        "members": [("ana", f.box_public(ANA), ["data_science"]), ("bia", f.box_public(BIA), ["fraud"])],
        "handoffs": [("training", ["income", "approved"], ["ana"], f.query_digest("select 1"), "training of a model")],
        "sources": [("offer", "kafka offers", [("case_id", "", 0, False), ("resource", "staff", 2, False)])],
        "tokens": [("customer", e, f.token_key_id(f.derived(f"token customer {e}"))) for e in (1, 2)],
    }


def policies_all():
    def make(name, change=None, root=ROOT, body=None):
        p = policy_good()
        if change:
            change(p)
        policies[name] = f.policy_file(body(p) if body else f.policy_body(p), root)
        return policies[name]

    def vector(name, words, error="ok", pipeline="loans", serial_min=7, now=NOW, root=ROOT, serial=7):
        file = policies[name.split("@")[0]]
        add("policy", name, words, {"policy": name.split("@")[0], "root": h(f.sign_pair(root)[0]), "pipeline": pipeline,
                                    "serial_min": serial_min, "now": now}, error,
            {"serial": serial, "hash": h(f.policy_hash(file)), "pipeline": pipeline} if error == "ok" else None)

    def both(name, words, change, error, **k):
        make(name, change, **k)
        vector(name, words, error)

    good = make("good")
    vector("good", "a signed policy")
    vector("good@lower_bound", "of exactly the serial that is asked for, on its last day", now=UNTIL)
    make("newer", lambda p: p.update(serial=8))
    vector("newer", "a newer one", serial=8)
    vector("good@rolled_back", "older than the database's serial", "policy", serial_min=8)
    vector("good@other_pipeline", "another pipeline's", "policy", pipeline="deposits")
    vector("good@expired", "expired", "validity", now=UNTIL + 1)
    vector("good@early", "not yet valid", "validity", now=FROM - 1)
    vector("good@other_root", "signed by another root than the pinned one", "signature", root=OTHER_ROOT)
    both("unsigned", "not signed", None, "signature", root=None)
    both("other_signer", "signed by another root", None, "signature", root=OTHER_ROOT)
    for name, words, file, error in (
            ("serial_changed", "the serial raised after signing", flip(good, 9, 0x08), "signature"),
            ("last_byte", "the last byte of the signature", flip(good, len(good) - 1), "signature"),
            ("body_byte", "a byte of the body", flip(good, len(good) - 100), "signature"),
            ("magic", "another magic", b"WRP2" + good[4:], "malformed"),
            ("short", "cut short", good[:-1], "malformed"),
            ("long", "a byte more", good + b"\0", "malformed"),
            ("length", "a length beyond the end", good[:4] + b"\xff\xff\xff\xff" + good[8:], "malformed"),
            ("empty", "no bytes", b"", "malformed")):
        policies[name] = file
        vector(name, words, error)
    both("trailing", "a second item in the body", None, "malformed", body=lambda p: f.policy_body(p) + f.nil())
    both("fourteen", "an element missing", None, "malformed",
         body=lambda p: b"\x9e" + f.policy_body(p)[1:-len(f.tokens(p))])
    both("not_an_array", "no array", None, "malformed", body=lambda p: f.text("policy"))
    both("name_long", "a name of 64 bytes", lambda p: p["classes"].append(("x" * 64, ["fraud"])), "malformed")
    both("name_empty", "a class without a name", lambda p: p["classes"].append(("", ["fraud"])), "malformed")
    both("key_short", "a public key of 31 bytes", lambda p: p.update(escrow=bytes(31)), "malformed")
    both("serial_zero", "serial 0", lambda p: p.update(serial=0), "policy")
    both("no_dead_letter", "class dead_letter missing", lambda p: p["classes"].pop(), "policy")
    both("no_sealer", "no sealer", lambda p: p["sealers"].clear(), "policy")
    both("class_twice", "a class twice", lambda p: p["classes"].append(("financial", ["fraud"])), "policy")
    both("role_twice", "a role twice", lambda p: p["roles"].append(("fraud", 3, f.box_public(ANA))), "policy")
    both("member_twice", "a member twice", lambda p: p["members"].append(("ana", f.box_public(BIA), [])), "policy")
    both("role_unknown", "a class of an unknown role", lambda p: p["classes"].append(("x", ["nobody"])), "policy")
    both("role_listed_twice", "a role twice in one class", lambda p: p["classes"].append(("x", ["fraud", "fraud"])), "policy")
    both("class_of_nobody", "a class that no role opens", lambda p: p["classes"].append(("x", [])), "policy")
    both("member_unknown_role", "a member of an unknown role", lambda p: p["members"].append(("eva", f.box_public(BIA), ["x"])), "policy")
    both("recipient_unknown", "a hand-over to nobody that is listed",
         lambda p: p["handoffs"].append(("out", [], ["eve"], bytes(16), "")), "policy")
    both("sensitive_unknown", "a field of an unknown class",
         lambda p: p["sensitive"].append(("offer", "x", "nowhere", "", 0, 4, False, [])), "policy")
    one = lambda *row: lambda p: p["sensitive"].append(("offer", "x", "identity", *row))
    both("canonical_unknown", "a canonical form that there is not", one("customer", 4, 4, False, []), "malformed")
    both("canonical_alone", "a canonical form without a token", one("", 3, 4, False, []), "malformed")
    both("pad_unknown", "a padding that no field has", one("", 0, 3, False, []), "malformed")
    both("pad_large", "a padding beyond the largest", one("", 0, 13, False, []), "malformed")
    source = lambda *clear: lambda p: p["sources"].append(("other", "kafka others", clear))
    both("clear_empty", "a source that is read for nothing in clear", source(), "ok")
    both("clear_no_path", "a clear field without a path", source(("", "", 0, False)), "malformed")
    both("clear_canonical_alone", "a clear field with a canonical form and no token", source(("x", "", 1, False)), "malformed")
    both("clear_many", "more clear fields than a source may have", source(*[("x", "", 0, False)] * 129), "malformed")
    both("purpose_long", "a purpose of 1001 bytes",
         lambda p: p["handoffs"].append(("out", [], [], bytes(16), "x" * 1001)), "malformed")
    token = lambda *row: lambda p: p["tokens"].append(row)
    both("token_twice", "a token key's epoch twice", token("customer", 2, bytes(16)), "policy")
    both("token_epoch_zero", "a token key of epoch 0", token("customer", 0, bytes(16)), "policy")
    both("token_epoch_large", "a token key of epoch 256", token("customer", 256, bytes(16)), "malformed")
    both("token_short", "a token key's id of 15 bytes", token("customer", 3, bytes(15)), "malformed")
    both("backwards", "ends before it begins", lambda p: p.update(not_before=UNTIL, not_after=FROM), "validity")
    for i, pk in enumerate(LOW):
        both(f"low_role_{i}", "a role's key of low order", lambda p: p["roles"].append(("weak", 1, pk)), "lowpoint")
        both(f"low_member_{i}", "a member's key of low order", lambda p: p["members"].append(("weak", pk, [])), "lowpoint")
    both("low_escrow", "an escrow key of low order", lambda p: p.update(escrow=LOW[0]), "lowpoint")
    both("low_sealer", "a sealer's key that is the neutral point", lambda p: p["sealers"].append(b"\1" + bytes(31)), "lowpoint")
    both("low_audit", "an audit key that is no point", lambda p: p.update(audit=b"\2" + bytes(31)), "lowpoint")
    make("two_sealers", lambda p: (p["sealers"].append(f.sign_pair(OTHER_SEALER)[0]), p.update(serial=8)))
    make("no_fraud_class", lambda p: (p["classes"].__setitem__(0, ("financial", ["fraud"])), p.update(serial=9)))


def roots():
    new = f.sign_pair(OTHER_ROOT)[0]
    message = f.L("loans") + struct.pack(">Q", 8) + new
    sig = f.sign(ROOT, "WRP1-root", message)
    one = {"old_root": h(f.sign_pair(ROOT)[0]), "pipeline": "loans", "serial": 8, "new_root": h(new), "signature": h(sig)}
    add("root", "good", "the old root names the new one", one, out={})
    add("root", "serial", "for another serial", {**one, "serial": 9}, "signature")
    add("root", "pipeline", "for another pipeline", {**one, "pipeline": "deposits"}, "signature")
    add("root", "self", "the new root cannot name itself", {**one, "signature": h(f.sign(OTHER_ROOT, "WRP1-root", message))}, "signature")
    add("root", "context", "a signature of another context", {**one, "signature": h(f.sign(ROOT, "WRP1-policy", message))}, "signature")
    add("root", "low", "a new root that is no key", {**one, "new_root": h(b"\1" + bytes(31))}, "lowpoint")


def publics():
    for i, pk in enumerate(LOW):
        add("public", f"box_low_{i}", "an X25519 key of low order", {"use": "box", "pk": h(pk)}, "lowpoint")
    add("public", "box_good", "an X25519 key", {"use": "box", "pk": h(f.box_public(ANA))}, out={})
    add("public", "sign_good", "an Ed25519 key", {"use": "sign", "pk": h(f.sign_pair(ROOT)[0])}, out={})
    add("public", "sign_neutral", "the neutral point", {"use": "sign", "pk": h(b"\1" + bytes(31))}, "lowpoint")
    add("public", "sign_order_2", "a point of order two", {"use": "sign", "pk": h(b"\xec" + b"\xff" * 30 + b"\x7f")}, "lowpoint")
    add("public", "sign_no_point", "no point of the curve", {"use": "sign", "pk": h(b"\2" + bytes(31))}, "lowpoint")


# ---- envelopes ----

NB, NA = NOW, NOW + 15 * 60 * 1000


def cores():
    ph = f.policy_hash(policies["good"])
    good = f.core(KEY, NB, NA, SEALER, ph, "loans", "financial")
    out = {"kid": h(f.commit(KEY)[:16]), "commit": h(f.commit(KEY)), "not_before": NB, "not_after": NA,
           "pipeline": "loans", "class": "financial"}
    v = lambda name, words, core, error="ok", policy="good": add(
        "core", name, words, {"core": h(core), "policy": policy}, error, out if error == "ok" else None)
    v("good", "a signed core", good)
    v("old_sealer", "of a sealer that is one of two", good, policy="two_sealers")
    v("older_policy", "made under an older policy, read under a newer one", good, policy="newer")
    v("sealer", "of a sealer that is not listed", f.core(KEY, NB, NA, OTHER_SEALER, ph, "loans", "financial"), "sealer")
    forged = f.core_body(KEY, NB, NA, f.sign_pair(SEALER)[0], ph, "loans", "financial")
    v("forged", "signed by another key under the sealer's name", forged + f.sign(OTHER_SEALER, "WRE1-core", forged), "signature")
    v("context", "a signature of another context", forged + f.sign(SEALER, "WRP1-policy", forged), "signature")
    for at in (80, 90, 100, 110, 122, len(good) - 1):
        v(f"flip_{at}", "a bit flipped", flip(good, at), "sealer" if 72 <= at < 88 else "signature")
    v("unsigned", "a core without its signature", forged, "malformed")
    v("zero_signature", "a signature of zeros", forged + bytes(64), "signature")
    v("magic", "another magic", b"WRE2" + good[4:], "malformed")
    v("suite", "an unknown suite", good[:4] + b"\2" + good[5:], "suite")
    v("zeros", "reserved bytes that are not zero", flip(good, 6), "malformed")
    v("short", "cut short", good[:-1], "malformed")
    v("long", "a byte more", good + b"\0", "malformed")
    v("empty", "no bytes", b"", "malformed")
    v("kid", "a kid that is not the commitment's head", f.core(KEY, NB, NA, SEALER, ph, "loans", "financial", kid=bytes(16)), "commit")
    v("backwards", "ends before it begins", f.core(KEY, NA, NB, SEALER, ph, "loans", "financial"), "validity")
    v("class", "a class that the policy has not", f.core(KEY, NB, NA, SEALER, ph, "loans", "medical"), "policy")
    v("pipeline", "of another pipeline", f.core(KEY, NB, NA, SEALER, ph, "deposits", "financial"), "policy")
    v("name_long", "a name of 64 bytes", f.core(KEY, NB, NA, SEALER, ph, "loans", "c" * 64), "malformed")
    v("name_empty", "no class", f.core(KEY, NB, NA, SEALER, ph, "loans", ""), "malformed")


def wraps():
    science, c = f.box_public(SCIENCE), f.commit(KEY)
    good = f.wrap(KEY, science, "wrap")
    v = lambda name, words, wrap, error="ok", secret=SCIENCE, commit=c: add(
        "wrap", name, words, {"wrap": h(wrap), "secret": h(secret), "commit": h(commit)}, error,
        {"key": h(KEY)} if error == "ok" else None)
    v("good", "a wrap of the data key", good)
    v("other", "for somebody else", good, "recipient", secret=FRAUD)
    v("named", "for somebody else, with my id", good[:1] + f.key_id(f.box_public(FRAUD)) + good[17:], "recipient", secret=FRAUD)
    v("moved", "moved to another envelope", f.wrap(OTHER_KEY, science, "moved"), "commit")
    v("commit", "another commitment", good, "commit", commit=f.commit(OTHER_KEY))
    v("suite", "an unknown suite", b"\2" + good[1:], "suite")
    v("short", "cut short", good[:-1], "malformed")
    v("long", "a byte more", good + b"\0", "malformed")
    for at in (1, 16, 17, 48, 49, 65, 96):
        v(f"flip_{at}", "a bit flipped", flip(good, at), "recipient")


def envelopes():
    ph = f.policy_hash(policies["good"])
    core = f.core(KEY, NB, NA, SEALER, ph, "loans", "identity")
    ws = [f.wrap(KEY, f.box_public(k), f"envelope {i}") for i, k in enumerate((SCIENCE, FRAUD, ESCROW))]
    good = f.envelope(core, ws)
    v = lambda name, words, e, error="ok", secret=SCIENCE, policy="good": add(
        "envelope", name, words, {"envelope": h(e), "policy": policy, "secret": h(secret)}, error,
        {"key": h(KEY), "class": "identity"} if error == "ok" else None)
    for name, secret in (("science", SCIENCE), ("fraud", FRAUD), ("escrow", ESCROW)):
        v(name, "opened by each recipient", good, secret=secret)
    v("lake", "core and escrow wrap only, as lake objects carry it", f.envelope(core, ws[2:]), secret=ESCROW)
    v("lake_science", "which role holders cannot open", f.envelope(core, ws[2:]), "recipient")
    v("member", "a member's own key is no role key", good, "recipient", secret=ANA)
    v("swapped_core", "another key's core before these wraps",
      f.envelope(f.core(OTHER_KEY, NB, NA, SEALER, ph, "loans", "identity"), ws), "commit")
    v("unknown_sealer", "a core of an unlisted sealer", f.envelope(f.core(KEY, NB, NA, OTHER_SEALER, ph, "loans", "identity"), ws), "sealer")
    v("no_wraps", "no wraps", f.envelope(core, []), "malformed")
    v("count", "more wraps promised than there are", good[:2 + len(core)] + b"\4" + good[3 + len(core):], "malformed")
    v("length", "a core length beyond the end", b"\xff\xff" + good[2:], "malformed")
    v("short", "cut short", good[:-1], "malformed")
    v("long", "a byte more", good + b"\0", "malformed")
    v("sixty_five", "65 wraps", f.envelope(core, ws[:1] * 65), "malformed")


def admissions():
    ph, none = f.policy_hash(policies["good"]), None
    body = lambda nb=NB, na=NA, p=ph, pipeline="loans", c="identity": f.core_body(KEY, nb, na, none, p, pipeline, c)
    science, fraud, escrow = (f.wrap(KEY, f.box_public(k), f"admit {i}") for i, k in enumerate((SCIENCE, FRAUD, ESCROW)))
    v = lambda name, words, core, ws, error="ok", now=NOW: add(
        "admit", name, words, {"core": h(core), "wraps": [h(w) for w in ws], "policy": "good", "now": now}, error,
        {"class": "identity"} if error == "ok" else None)
    all_ = [science, fraud, escrow]
    v("good", "what the keeper signs", body(), all_)
    v("order", "wraps in another order", body(), [escrow, science, fraud])
    v("skew", "the clocks are a minute apart", body(), all_, now=NOW + 60_000)
    v("policy", "another policy's hash", body(p=bytes(16)), all_, "policy")
    v("class", "an unknown class", body(c="medical"), all_, "policy")
    v("pipeline", "another pipeline", body(pipeline="deposits"), all_, "policy")
    v("long", "a window of an hour", body(na=NB + 3_600_000), all_, "validity")
    v("past", "a window that began ten minutes ago", body(), all_, "validity", now=NOW + 600_000)
    v("future", "a window of tomorrow", body(), all_, "validity", now=NOW - 86_400_000)
    v("missing", "a role's wrap missing", body(), [science, escrow], "recipient")
    v("no_escrow", "escrow's wrap missing", body(), [science, fraud], "recipient")
    v("more", "somebody else's wrap", body(), all_ + [f.wrap(KEY, f.box_public(BIA), "admit bia")], "recipient")
    v("instead", "somebody else's wrap for a role's", body(), [f.wrap(KEY, f.box_public(BIA), "admit bia"), fraud, escrow], "recipient")
    v("twice", "one wrap twice", body(), [science, science, escrow], "recipient")
    v("signed", "a core that is signed already", f.core(KEY, NB, NA, SEALER, ph, "loans", "identity"), all_, "malformed")
    v("suite", "a wrap of an unknown suite", body(), [b"\2" + science[1:], fraud, escrow], "suite")


# ---- key files ----

def keyfiles():
    secret, word = f.derived("keyfile secret"), b"correct horse"
    v = lambda name, words, file, error="ok", p=None, kind=None, label=None: add(
        "keyfile", name, words, {"file": h(file), "passphrase": h(p)}, error,
        {"type": kind, "label": label, "secret": h(secret)} if error == "ok" else None)
    for kind, label in (("root", "root"), ("sealer", "sealer"), ("audit", "audit"), ("escrow", "escrow"),
                        ("member", "member-ana"), ("role", "role-data_science-2"), ("token", "token-customer-1"), ("rid", "rid")):
        v(f"{kind}", "each type, without a passphrase", f.keyfile(kind, label, secret), kind=kind, label=label)
    protected = f.keyfile("member", "member-ana", secret, word)
    v("passphrase", "argon2id", protected, p=word, kind="member", label="member-ana")
    v("passphrase_bytes", "a passphrase that is not ASCII", f.keyfile("member", "member-ana", secret, "sésame ☂".encode()),
      p="sésame ☂".encode(), kind="member", label="member-ana")
    v("opslimit_10", "the most that is allowed of opslimit", f.keyfile("root", "root", secret, word, ops=10), p=word, kind="root", label="root")
    v("label_longest", "a label of 160 bytes", f.keyfile("member", "m" * 160, secret), kind="member", label="m" * 160)
    v("passphrase_wrong", "a wrong passphrase", protected, "passphrase", p=b"correct horsf")
    v("passphrase_none", "none where one is needed", protected, "passphrase")
    v("opslimit_11", "more than is allowed", f.keyfile("root", "root", secret, word, ops=11, run=(1, 8)), "kdf", p=word)
    v("opslimit_huge", "far more", f.keyfile("root", "root", secret, word, ops=0xFFFFFFFF, run=(1, 8)), "kdf", p=word)
    v("opslimit_0", "less than there is", f.keyfile("root", "root", secret, word, ops=0, run=(1, 8)), "kdf", p=word)
    v("memory_2gib_1", "a KiB more than 2 GiB", f.keyfile("root", "root", secret, word, kib=2 * 1024 * 1024 + 1, run=(1, 8)), "kdf", p=word)
    v("memory_huge", "4 TiB", f.keyfile("root", "root", secret, word, kib=0xFFFFFFFF, run=(1, 8)), "kdf", p=word)
    v("memory_7", "less than there is", f.keyfile("root", "root", secret, word, kib=7, run=(1, 8)), "kdf", p=word)
    v("kdf_unknown", "an unknown derivation", f.keyfile("root", "root", secret, kdf=2), "kdf")
    v("kdf_none_opslimit", "no derivation, but parameters", f.keyfile("root", "root", secret, run=(1, 0), ops=1), "kdf")
    v("kdf_none_salt", "no derivation, but a salt", f.keyfile("root", "root", secret, salt=b"s" * 16), "kdf")
    plain = f.keyfile("sealer", "sealer", secret)
    v("downgrade", "argon2id taken off", protected[:5] + b"\0" + protected[6:], "kdf", p=word)
    for at, what in ((4, "type"), (32, "nonce"), (58, "label"), (64, "secret"), (len(plain) - 1, "tag")):
        v(f"flip_{at}", f"a bit of the {what} flipped", flip(plain, at), "auth")
    v("flip_protected", "a bit flipped in a protected one", flip(protected, len(protected) - 1), "passphrase", p=word)
    v("renamed", "a label changed", plain.replace(b"\0\6sealer", b"\0\6escrow"), "auth")
    v("magic", "another magic", b"WRK2" + plain[4:], "malformed")
    v("zero", "reserved bytes that are not zero", f.keyfile("sealer", "sealer", secret, zero=1), "malformed")
    v("type_0", "no type", f.keyfile(0, "x", secret), "malformed")
    v("type_9", "an unknown type", f.keyfile(9, "x", secret), "malformed")
    v("short", "cut short", plain[:-1], "malformed")
    v("long", "a byte more", plain + b"\0", "malformed")
    v("empty", "no bytes", b"", "malformed")
    v("label_161", "a label that is too long", f.keyfile("member", "m" * 161, secret), "malformed")
    v("label_length", "a label length beyond the end", plain[:56] + b"\xff\xff" + plain[58:], "malformed")
    v("secret_31", "a secret of 31 bytes", f.keyfile("sealer", "sealer", secret[:31]), "malformed")
    may = lambda name, words, mode, owner, euid, error="ok": add(
        "permissions", name, words, {"mode": mode, "owner": owner, "euid": euid}, error, {} if error == "ok" else None)
    may("0600", "ours, for us alone", "100600", 1000, 1000)
    may("0400", "read only", "100400", 1000, 1000)
    may("root", "root's, handed to us by descriptor", "100600", 0, 1000)
    may("root_0400", "root's, read only", "100400", 0, 1000)
    may("root_0440", "root's, for our group: as Kubernetes mounts a Secret", "100440", 0, 1000)
    may("root_0640", "root's, its group may read it", "100640", 0, 1000)
    may("we_are_root", "we are root, for root alone", "100600", 0, 0)
    may("0700", "executable by us", "100700", 1000, 1000)
    for mode in ("100640", "100604", "100620", "100610", "100601", "100602", "100660", "100644", "100777"):
        may(mode[2:] + "_refused", "others may do something", mode, 1000, 1000, "permissions")
    for mode in ("100460", "100660", "100450", "100650", "100444", "100644", "100441", "100604", "100642", "100777"):
        may("root_" + mode[2:] + "_refused", "root's, but more than reading, or for everybody", mode, 0, 1000, "permissions")
    for mode in ("100440", "100640", "100604", "100620"):
        may("we_are_root_" + mode[2:] + "_refused", "root needs no group to read", mode, 0, 0, "permissions")
    may("0440_refused", "ours: whoever owns a file needs no group", "100440", 1000, 1000, "permissions")
    may("other_owner_0440", "somebody else's, for our group", "100440", 1001, 1000, "permissions")
    may("we_are_root_other_owner", "we are root, somebody else's", "100600", 1000, 0, "permissions")
    may("root_directory", "a directory of root's", "040750", 0, 1000, "permissions")
    may("other_owner", "somebody else's", "100600", 1001, 1000, "permissions")
    may("directory", "a directory", "040700", 1000, 1000, "permissions")
    may("pipe", "a pipe", "010600", 1000, 1000, "permissions")
    may("device", "a device", "020600", 1000, 1000, "permissions")
    may("socket", "a socket", "140600", 1000, 1000, "permissions")


def role_secrets():
    pk = f.box_public(SCIENCE)
    good = f.box_seal(SCIENCE, f.box_public(ANA), "role secret")
    v = lambda name, words, sealed, error="ok", secret=ANA, pk=pk: add(
        "role", name, words, {"sealed": h(sealed), "secret": h(secret), "role": "data_science", "epoch": 2, "pk": h(pk)},
        error, {"secret": h(SCIENCE)} if error == "ok" else None)
    v("good", "the role's secret for a member", good)
    v("other", "for another member", good, "recipient", secret=BIA)
    v("flip", "a bit flipped", flip(good, 40), "recipient")
    v("swapped", "another role's secret", f.box_seal(FRAUD, f.box_public(ANA), "swapped"), "commit")
    v("short", "cut short", good[:-1], "malformed")
    v("long", "a byte more", good + b"\0", "malformed")


# ---- hand-overs ----

def handovers():
    key, created, ph = f.derived("handover key"), NOW, f.policy_hash(policies["good"])
    ws = [f.wrap(key, f.box_public(k), f"handover {i}") for i, k in enumerate((ANA, BIA))]
    head = f.handover_head(key, created, ph, "loans", "training", "ndjson", "credit model, ticket 12", ws)
    content = b"".join(b'{"id":%d,"income":%d}\n' % (i, i * 137) for i in range(3500))
    assert 65536 < len(content) < 131072

    def parts(plain, label, **k):
        header, chunks = f.handover_stream(key, head, plain, label, **k)
        return head + header, chunks

    def out(plain):
        return {"pipeline": "loans", "name": "training", "format": "ndjson", "purpose": "credit model, ticket 12",
                "created": created, "sha256": hashlib.sha256(plain).hexdigest(), "length": len(plain),
                "content": h(plain) if len(plain) < 64 else None}
    v = lambda name, words, file, error="ok", plain=None, secret=ANA: add(
        "handover", name, words, {"file": file if isinstance(file, dict) else h(file), "secret": h(secret)}, error,
        out(plain) if error == "ok" else None)
    small = b'{"id":1}\n'
    start, chunks = parts(small, "small")
    file = start + b"".join(chunks)
    v("small", "one chunk", file, plain=small)
    v("second_recipient", "opened by the other recipient", file, plain=small, secret=BIA)
    empty, none = parts(b"", "empty")
    v("empty", "no rows", empty + b"".join(none), plain=b"")
    v("stranger", "no recipient", file, "recipient", secret=FRAUD)
    for at, error in ((0, "malformed"), (4, "suite"), (5, "malformed"), (8, "commit"), (24, "commit"), (40, "commit"),
                      (56, "auth"), (64, "auth"), (80, "malformed"), (82, "auth")):
        changed = bytearray(file)
        changed[at] ^= 0x40 if at == 80 else 1
        v(f"head_{at}", "a bit of the head flipped", bytes(changed), error)
    wrap_at = len(head) - 2 * 97
    v("wrap_other", "a bit of another recipient's wrap flipped: the head is bound", flip(file, len(head) - 1), "auth")
    v("wrap_mine", "a bit of the own wrap flipped", flip(file, wrap_at + 96), "recipient")
    v("wrap_count", "a recipient hidden", file[:wrap_at - 1] + b"\1" + file[wrap_at:wrap_at + 97] + file[wrap_at + 194:], "auth")
    v("no_wraps", "no recipient at all", file[:wrap_at - 1] + b"\0" + file[wrap_at + 194:], "malformed")
    v("stream_header", "a bit of the stream's header flipped", flip(file, len(head)), "auth")
    v("chunk", "a bit of a chunk flipped", flip(file, len(file) - 20), "auth")
    v("tag", "the last byte flipped", flip(file, len(file) - 1), "auth")
    for name, n in (("magic", 3), ("fixed", 60), ("texts", 90), ("wraps", len(head) - 1), ("stream", len(head) + 10),
                    ("length", len(start) + 2), ("chunk", len(file) - 1), ("before_chunk", len(start)), ("nothing", 0)):
        v(f"cut_{name}", "cut short", file[:n], "truncated")
    v("longer", "bytes after the last chunk", file + b"\0", "malformed")
    v("chunk_length_0", "a chunk that is too short to be one", start + struct.pack(">I", 16) + chunks[0][4:20], "malformed")
    v("chunk_length_max", "a chunk that is too long", start + struct.pack(">I", 65554) + bytes(65554 // 64), "malformed")
    start, chunks = parts(small * 3, "short chunks", chunk=9)
    v("short_chunk", "chunks that are not full", start + b"".join(chunks), "malformed")
    start, chunks = parts(small, "no final", tags={0: 0})
    v("no_final", "a last chunk that does not say so", start + b"".join(chunks), "malformed")
    start, chunks = parts(small, "rekey", tags={0: 2})
    v("rekey", "a tag that is not used", start + b"".join(chunks), "malformed")
    start, chunks = parts(content, "long")
    blob = start + b"".join(chunks)
    blobs["handover_long"] = blob.hex()
    a, b, end = len(start), len(start) + len(chunks[0]), len(blob)
    cut = lambda *slices: {"blob": "handover_long", "slices": [list(x) for x in slices]}
    v("long", "two chunks", cut((0, end)), plain=content)
    v("truncated", "the last chunk missing: a file cut at a chunk's end", cut((0, b)), "truncated")
    v("reordered", "the chunks in another order", cut((0, a), (b, end), (a, b)), "auth")
    v("dropped", "the first chunk missing", cut((0, a), (b, end)), "auth")
    v("repeated", "the first chunk twice", cut((0, b), (a, end)), "auth")
    v("doubled", "the last chunk twice", cut((0, end), (b, end)), "malformed")


def audits():
    text = "1|2026-01-01T00:00:00Z|release"
    first = hashlib.sha256(bytes(32) + text.encode()).digest()
    add("audit", "first", "the first row", {"prev": h(bytes(32)), "text": text}, out={"hash": h(first)})
    add("audit", "second", "the next row", {"prev": h(first), "text": "2|é"}, out={"hash": h(hashlib.sha256(first + "2|é".encode()).digest())})
    message = f.L("loans") + struct.pack(">Q", 2) + first + struct.pack(">Q", NOW)
    one = {"audit": h(f.sign_pair(AUDIT)[0]), "pipeline": "loans", "id": 2, "hash": h(first), "at": NOW,
           "signature": h(f.sign(AUDIT, "WRA1-head", message))}
    add("audit_head", "good", "a signed head", one, out={})
    add("audit_head", "id", "another row", {**one, "id": 3}, "signature")
    add("audit_head", "hash", "another hash", {**one, "hash": h(bytes(32))}, "signature")
    add("audit_head", "signer", "another signer", {**one, "audit": h(f.sign_pair(ROOT)[0])}, "signature")


# tests/fuzz/fuzz_seal.c: its formats in order, and where a vector has the bytes of each.
SEEDS = (("field", "plain"), ("field", "payload"), ("policy", "policy"), ("core", "core"), ("envelope", "envelope"),
         ("wrap", "wrap"), ("keyfile", "file"), ("handover", "file"), ("token", "canonical"))


def seeds(folder):
    """Of each format what is good and, of what is not, one of each error."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (kind, name) in enumerate(SEEDS):
        met = set()
        for v in vectors:
            b = v["in"].get(name) or (v["out"] or {}).get(name)
            mark = v["error"] if v["error"] != "ok" else (v["out"].get("type"), v["in"].get("payload", "")[4:6])
            if v["kind"] != kind or not isinstance(b, str) or mark in met:
                continue
            met.add(mark)
            b = bytes([number]) + bytes.fromhex(policies[b].hex() if kind == "policy" else b)
            (folder / hashlib.sha256(b).hexdigest()[:16]).write_bytes(b)


def main():
    for make in (fields_good, fields_bad, tokens, policies_all, roots, publics, cores, wraps, envelopes, admissions,
                 keyfiles, role_secrets, handovers, audits):
        make()
    if sys.argv[1:2] == ["--seeds"]:
        return seeds(pathlib.Path(sys.argv[2]))
    line = lambda x: json.dumps(x, ensure_ascii=False)
    rows = lambda xs: ",\n".join("  " + x for x in xs)
    named = lambda d: "{\n" + rows(f"{line(k)}: {line(v)}" for k, v in d.items()) + "\n }"
    print("{\n" + ",\n".join((
        ' "about": [\n' + rows(map(line, ABOUT)) + "\n ]", ' "kinds": ' + named(KINDS),
        ' "roots": ' + named({"good": h(f.sign_pair(ROOT)[0])}),
        ' "policies": ' + named({n: p.hex() for n, p in policies.items()}), ' "blobs": ' + named(blobs),
        ' "vectors": [\n' + rows(map(line, vectors)) + "\n ]")) + "\n}")


main()
