"""The Python reader against the vectors, which the C code passes too, and against a writer of the tests' own."""

import datetime
import decimal
import hashlib
import json
import os
import pathlib
import pickle
import re
import sys

import msgpack
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "clients" / "python"))

import seal_writer as writer
import weir_reader
from weir_reader import audit, envelope, errors, handover, keyfile, policy, release, sealed, values

RID, SID, SECRET = bytes(range(16)), bytes(range(16, 32)), bytes(range(32))
WHERE = ("loans", "application@#0", "customer.cpf")


def refused(error, call, *args, **kw):
    with pytest.raises(errors.SealError) as caught:
        call(*args, **kw)
    assert caught.value.name == error, caught.value


@pytest.fixture(scope="module")
def key():
    return writer.DataKey()


def open_one(key, payload, where=WHERE, rid=RID, sid=None, secret=None):
    pipeline, source, path = where
    return sealed.DataKey(key.key).open(pipeline, sealed.Carried(payload, source, path, rid, sid), secret)


# ---- values ----
VALUES = [
    (None, None), (True, True), (False, False), (0, 0), (-1, -1), (2**63 - 1, 2**63 - 1), (-2**63, -2**63),
    (1.5, 1.5), ("", ""), ("João", "João"), (b"\xff\x00", b"\xff\x00"),
    (writer.decimal(1234567, 2), decimal.Decimal("12345.67")),
    (writer.decimal(-(10**38 - 1), 18), decimal.Decimal("-99999999999999999999.999999999999999999")),
    (writer.decimal(100, 2), decimal.Decimal("1.00")), (writer.date(-1), datetime.date(1969, 12, 31)),
    (writer.timestamp(1_320_000_000_123_456),
     datetime.datetime(2011, 10, 30, 18, 40, 0, 123456, tzinfo=datetime.timezone.utc)),
    (writer.json_text('{"a":[1,2]}'), values.Json('{"a":[1,2]}')),
]


@pytest.mark.parametrize("packed, value", VALUES)
def test_a_value_comes_out_as_it_went_in(key, packed, value):
    for padexp in (0, 4, 8, 12):
        for sid, secret in ((None, None), (SID, SECRET)):
            got = open_one(key, key.seal(writer.plain(packed), *WHERE, RID, sid, secret, padexp), sid=sid, secret=secret)
            assert got == value and type(got) is type(value)
            assert not isinstance(value, decimal.Decimal) or str(got) == str(value)


@pytest.mark.parametrize("inside", [
    b"", b"\x01\x02", b"\xca\0\0\0\0", b"\x90", b"\x80", b"\xdc\0\0", b"\xcf" + b"\xff" * 8, b"\xa1\xff", b"\xc1", b"\xa5ab",
    msgpack.packb(msgpack.ExtType(5, b"x")), msgpack.packb(msgpack.ExtType(1, b"\x13\x01")),
    msgpack.packb(msgpack.ExtType(1, b"\x02")), msgpack.packb(msgpack.ExtType(2, b"\0")),
    b"\xd6\xff\0\0\0\0", msgpack.packb(msgpack.ExtType(4, b"\xff"))], ids=repr)
def test_what_is_not_exactly_one_value(key, inside):
    refused("value", open_one, key, key.seal(inside, *WHERE, RID, padexp=4))


def test_order_of_the_header_checks(key):
    good = key.seal(writer.plain("x"), *WHERE, RID)
    for head, error in ((b"", "malformed"), (b"\2\2\7\1", "version"), (b"\1\2\7\1", "suite"), (b"\1\1\4\1", "flags"),
                        (b"\1\1\3\0", "flags"), (b"\1\1\0\3", "padding"), (b"\1\1\0\x0d", "padding"),
                        (b"\1\1\2\4", "padding"), (b"\1\1\2\0", "malformed")):
        refused(error, open_one, key, head + good[4:] if head else b"")
    refused("erased", open_one, key, b"\1\1\2\0")
    refused("malformed", open_one, key, good[:60])
    refused("size", open_one, key, good[:20] + bytes(sealed.PAYLOAD_MAX))
    refused("key", open_one, writer.DataKey(), good)
    bound = key.seal(writer.plain("x"), *WHERE, RID, SID, SECRET)
    refused("erased", open_one, key, bound, sid=SID)
    refused("auth", open_one, key, bound, sid=SID, secret=bytes(32))
    refused("auth", open_one, key, bound)


def test_every_bit_counts(key):
    good = key.seal(writer.plain("income"), *WHERE, RID, SID, SECRET)
    assert open_one(key, good, sid=SID, secret=SECRET) == "income"
    for at in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            with pytest.raises(errors.SealError) as caught:
                open_one(key, bytes(bad), sid=SID, secret=SECRET)
            assert at >= 20 and caught.value.name == "auth" or at < 20


def test_a_value_opens_only_where_it_belongs(key):
    good = key.seal(writer.plain("income"), *WHERE, RID, SID, SECRET)
    for where in (("other", *WHERE[1:]), (WHERE[0], "offer@#0", WHERE[2]), (*WHERE[:2], "income"),
                  ("loansa", "pplication@#0", WHERE[2])):
        refused("auth", open_one, key, good, where, sid=SID, secret=SECRET)
    refused("auth", open_one, key, good, rid=bytes(16), sid=SID, secret=SECRET)
    refused("auth", open_one, key, good, sid=bytes(16), secret=SECRET)


def test_padding_that_is_none(key):
    for padded in (bytes(16), b"\xa1x" + b"\x80" + bytes(12), b"\xa1x" + b"\x01" * 14, b"\xc0\x80" + bytes(29)):
        refused("padding", open_one, key, key.seal(None, *WHERE, RID, padded=padded, padexp=4))


def test_carried_values(key):
    payload = key.seal(writer.plain(1), *WHERE, RID, SID, SECRET)
    c = sealed.carried(writer.carried(payload, WHERE[1], WHERE[2], RID, SID))
    assert c == (payload, WHERE[1], WHERE[2], RID, SID)
    for bad in (b"", b"\x95", msgpack.packb([payload, "a", "b", RID]), msgpack.packb([payload, "a", "b", b"short", None]),
                msgpack.packb([payload, "a", "b", RID, SID]) + b"\0", msgpack.packb({1: 2})):
        refused("malformed", sealed.carried, bad)


def test_tokens():
    assert sealed.token(b"\1\2\0\7" + RID) == (2, 7, RID)
    refused("malformed", sealed.token, b"\1\2\0\7")
    refused("version", sealed.token, b"\2\2\0\7" + RID)
    refused("malformed", sealed.token, b"\1\0\0\7" + RID)


# ---- key files ----
def test_key_files(tmp_path):
    pair = writer.Box()
    file = tmp_path / "member-ana.key"
    file.touch(0o600)
    file.write_bytes(writer.key_file("member", "member-ana", pair.secret, b"correct horse"))
    key = keyfile.read(file, "correct horse")
    assert (key.type, key.label, key.public, key.id) == (keyfile.MEMBER, "member-ana", pair.public, pair.id)
    assert pair.secret.hex() not in repr(key) + str(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    refused("passphrase", keyfile.read, file, "wrong")
    refused("passphrase", keyfile.read, file)
    for mode in (0o640, 0o604, 0o660, 0o610, 0o666):
        file.chmod(mode)
        refused("permissions", keyfile.read, file, "correct horse")
    refused("permissions", keyfile.permitted, 0o100600, os.geteuid() + 1, os.geteuid() + 2)
    refused("permissions", keyfile.permitted, 0o010600, os.geteuid(), os.geteuid())
    link = tmp_path / "link.key"
    link.symlink_to(file)
    refused("permissions", keyfile.read, link, "correct horse")  # the file counts, not the link's own mode
    file.chmod(0o600)
    assert keyfile.read(link, "correct horse").public == pair.public
    link.unlink()
    link.symlink_to(tmp_path)
    refused("permissions", keyfile.read, link, "correct horse")
    if os.geteuid() == 0:  # root's own file is for root alone, as long as we are root
        file.chmod(0o440)
        refused("permissions", keyfile.read, file, "correct horse")


def test_key_files_that_are_wrong():
    make = lambda **kw: writer.key_file("member", "member-ana", RID + RID, b"p", **kw)
    good = make()
    assert keyfile.decode(good, b"p").label == "member-ana"
    for ops, kib in ((0, 8), (11, 8), (2**32 - 1, 8), (1, 7), (1, 2 * 1024 * 1024 + 1), (1, 2**32 - 1)):
        refused("kdf", keyfile.decode, make(opslimit=ops, memlimit_kib=kib, real=(1, 8)), b"p")
    for n in range(len(good)):
        refused("malformed", keyfile.decode, good[:n], b"p")
    refused("malformed", keyfile.decode, good + b"\0", b"p")
    bad = bytearray(good)
    bad[6] = 1
    refused("malformed", keyfile.decode, bad, b"p")
    refused("malformed", keyfile.decode, writer.key_file(9, "x", RID + RID), None)
    service = writer.key_file("role", "role-data_science-1", RID + RID)
    assert keyfile.decode(service).type == keyfile.ROLE
    for at in (len(service) - 1, 60, 40):
        bad = bytearray(service)
        bad[at] ^= 1
        refused("auth", keyfile.decode, bad)
    bad = bytearray(service)
    bad[5] = 2
    refused("kdf", keyfile.decode, bad)


def test_low_order_points():
    for public in (bytes(32), b"\x01" + bytes(31),
                   bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
                   bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")):
        refused("lowpoint", keyfile.check_box, public)
    refused("lowpoint", keyfile.check_sign, b"\x01" + bytes(31))


# ---- policy and envelopes ----
class World:
    def __init__(self):
        self.root, self.sealer, self.audit = writer.Signer(), writer.Signer(), writer.Signer()
        self.role, self.escrow, self.member = writer.Box(), writer.Box(), writer.Box()
        self.key = writer.DataKey()

    def file(self, root=None, **other):
        return writer.policy(root or self.root, writer.policy_body("loans", self.role, self.escrow, self.sealer, self.audit,
                                                                    self.member, **other))

    def policy(self, **other):
        return policy.decode(self.file(**other), self.root.public)

    def core(self, **other):
        sealer = other.pop("by", self.sealer)
        pipeline, class_name = other.pop("pipeline", "loans"), other.pop("class_name", "financial")
        return writer.core(self.key, sealer, self.file(), pipeline, class_name, other.pop("nb", 5), other.pop("na", 10), **other)

    def holder(self):
        return keyfile.SecretKey(keyfile.ROLE, "role-data_science-1", self.role.secret)


@pytest.fixture(scope="module")
def world_of_keys():
    return World()


def test_a_policy(world_of_keys):
    w = world_of_keys
    p = w.policy()
    assert p.pipeline == "loans" and p.classes["financial"] == ["data_science"] and p.roles["data_science"].public == w.role.public
    assert p.hash == writer.b2(128, b"weir1.policy", w.file())
    assert p.usable("loans") is p
    refused("policy", p.usable, "other")
    refused("policy", p.usable, "loans", 2)
    refused("validity", w.policy(f2=1000).usable, "loans")


def test_policies_that_are_wrong(world_of_keys):
    w = world_of_keys
    file = w.file()
    refused("signature", policy.decode, file, writer.Signer().public)
    for at in range(8, len(file)):
        bad = bytearray(file)
        bad[at] ^= 0x10
        refused("signature", policy.decode, bad, w.root.public)
    for n in (0, 7, 8, len(file) - 1):
        refused("malformed", policy.decode, file[:n], w.root.public)
    refused("malformed", policy.decode, file + b"\0", w.root.public)
    refused("malformed", policy.decode, writer.policy(w.root, b"\xc0"), w.root.public)
    for change, error in ({"f0": 0}, "policy"), ({"f1": 9, "f2": 8}, "validity"), ({"f3": 7}, "malformed"), \
            ({"f4": [["financial", ["data_science"]]]}, "policy"), ({"f4": [["dead_letter", []]]}, "policy"), \
            ({"f4": [["dead_letter", ["data_science"]], ["financial", ["nobody"]]]}, "policy"), \
            ({"f5": [["data_science", 1, bytes(32)]]}, "lowpoint"), ({"f6": bytes(32)}, "lowpoint"), ({"f7": []}, "policy"), \
            ({"f7": [b"\x01" + bytes(31)]}, "lowpoint"), ({"f8": b"short"}, "malformed"), \
            ({"f12": [["risk", [], ["nobody"], bytes(16), ""]]}, "policy"), ({"f14": [["person", 1, bytes(16)]] * 2}, "policy"), \
            ({"f14": [["person", 0, bytes(16)]]}, "policy"), ({"f13": [["application", "x", [["", "", 0, False]]]]}, "malformed"), \
            ({"f13": [["application", "x", [["a", "", 1, False]]]]}, "malformed"), ({"f11": [["a", bytes(31), []]]}, "malformed"):
        refused(error, policy.decode, w.file(**change), w.root.public)


def test_opening_in_order(world_of_keys):
    w = world_of_keys
    core = envelope.verify_core(w.core(), w.policy())
    key = envelope.unwrap(writer.wrap(w.key, w.role.public), w.holder(), core.commit)
    at = sealed.Carried(w.key.seal(writer.plain("x"), *WHERE, RID), WHERE[1], WHERE[2], RID, None)
    assert key.open("loans", at) == "x"
    refused("recipient", envelope.unwrap, writer.wrap(w.key, w.escrow.public), w.holder(), core.commit)
    refused("commit", envelope.unwrap, writer.wrap(writer.DataKey(), w.role.public), w.holder(), core.commit)
    bad = bytearray(writer.wrap(w.key, w.role.public))
    bad[40] ^= 1
    refused("recipient", envelope.unwrap, bytes(bad), w.holder(), core.commit)
    refused("malformed", envelope.unwrap, bytes(bad)[:96], w.holder(), core.commit)
    bad[0] = 2
    refused("suite", envelope.unwrap, bytes(bad), w.holder(), core.commit)


def test_cores_that_are_wrong(world_of_keys):
    w = world_of_keys
    p, good = w.policy(), w.core()
    refused("sealer", envelope.verify_core, w.core(by=writer.Signer()), p)
    refused("policy", envelope.verify_core, w.core(pipeline="other"), p)
    refused("policy", envelope.verify_core, w.core(class_name="other"), p)
    refused("commit", envelope.verify_core, w.core(kid=bytes(16)), p)
    refused("validity", envelope.verify_core, w.core(nb=11), p)
    refused("suite", envelope.verify_core, w.core(magic=b"WRE1\x02\0\0\0"), p)
    refused("malformed", envelope.verify_core, w.core(magic=b"WRE1\x01\0\0\1"), p)
    refused("malformed", envelope.verify_core, good[:-1], p)
    refused("malformed", envelope.verify_core, good + b"\0", p)
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1
        with pytest.raises(errors.SealError):
            envelope.verify_core(bytes(bad), p)
    whole = len(good).to_bytes(2, "big") + good + b"\1" + writer.wrap(w.key, w.escrow.public)
    assert envelope.split(whole) == (good, [writer.wrap(w.key, w.escrow.public)[:0] + whole[-97:]])
    refused("malformed", envelope.split, whole[:-1])


# ---- hand-over files ----
@pytest.mark.parametrize("size", [0, 1, writer.CHUNK - 1, writer.CHUNK, writer.CHUNK + 1, 3 * writer.CHUNK])
def test_handover_files(world_of_keys, size):
    w = world_of_keys
    me = keyfile.SecretKey(keyfile.MEMBER, "member-ana", w.member.secret)
    content = os.urandom(size)
    head, got = handover.decode(writer.handover(w.key, [w.escrow.public, w.member.public], content), me)
    assert got == content and (head.pipeline, head.name, head.format, head.purpose) == ("loans", "risk", "ndjson", "test")


def test_handover_files_that_are_wrong(world_of_keys):
    w = world_of_keys
    me = keyfile.SecretKey(keyfile.MEMBER, "member-ana", w.member.secret)
    good = writer.handover(w.key, [w.member.public], b"row\n" * 40_000)
    head_bytes = len(handover.head(good).data)
    for n in (0, 3, 8, 50, head_bytes - 1, head_bytes, head_bytes + 24, head_bytes + 27, head_bytes + 28 + 65553,
              len(good) - 100, len(good) - 1):
        refused("truncated", handover.decode, good[:n], me)
    refused("malformed", handover.decode, good + b"\0", me)
    refused("truncated", handover.decode, writer.handover(w.key, [w.member.public], b"row" * writer.CHUNK, final=False), me)
    refused("malformed", handover.decode, writer.handover(w.key, [w.member.public], b"row", chunk=1), me)
    refused("recipient", handover.decode, writer.handover(w.key, [w.escrow.public], b"row"), me)
    refused("malformed", handover.decode, b"WRH2" + good[4:], me)
    refused("suite", handover.decode, b"WRH1\x02\0\0\0" + good[8:], me)
    for at in (24 + 5, head_bytes + 30, head_bytes + 3, len(good) - 1, head_bytes - 97 - 5):
        bad = bytearray(good)
        bad[at] ^= 1
        with pytest.raises(errors.SealError):
            handover.decode(bytes(bad), me)


def test_names_of_errors_are_those_of_the_c_code():
    text = (ROOT / "proto" / "seal" / "error.h").read_text()
    names = set(re.findall(r'X\([A-Z]+, "([a-z]+)"', text)) - {"ok"}
    assert names == set(errors.BY_NAME)


def test_an_erased_value_is_one_thing():
    assert not weir_reader.ERASED and pickle.loads(pickle.dumps(weir_reader.ERASED)) is weir_reader.ERASED


# ---- the vectors ----
VECTORS = json.loads((ROOT / "tests" / "vectors" / "sealing.json").read_text())
OF_A_WRITER = {"token", "admit"}  # what ingest and keeper do, and no reader


def octets(x):
    if isinstance(x, dict):
        whole = bytes.fromhex(VECTORS["blobs"][x["blob"]])
        return b"".join(whole[lo:hi] for lo, hi in x["slices"])
    return None if x is None else bytes.fromhex(x)


def canonical(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        text = value.strftime("%S") + (f".{value.microsecond:06d}".rstrip("0") if value.microsecond else "")
        return f"{value.year:04d}-{value.month:02d}-{value.day:02d}T{value.hour:02d}:{value.minute:02d}:{text}Z"
    if isinstance(value, values.Json):
        return value.text
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    return None if value is None or isinstance(value, bytes) else str(value)


TYPES = {type(None): "null", bool: "boolean", int: "integer", float: "float", str: "text", bytes: "raw", decimal.Decimal: "decimal",
         datetime.date: "date", datetime.datetime: "timestamp", values.Json: "json"}


def the_policy(x):
    return policy.decode(octets(VECTORS["policies"][x["policy"]]), octets(VECTORS["roots"]["good"]))


def holder(secret, type_=keyfile.ROLE, label="role-data_science-1"):
    return keyfile.SecretKey(type_, label, octets(secret))


def open_field(x):
    at = sealed.Carried(octets(x["payload"]), x["source"], x["field"], octets(x["rid"]), octets(x["sid"]))
    key = sealed.DataKey(octets(x["key"]))
    value = key.open(x["pipeline"], at, octets(x["s"]))
    return {"plain": key.open_plain(x["pipeline"], at, octets(x["s"])).hex(), "type": TYPES[type(value)], "text": canonical(value),
            "raw": value.hex() if isinstance(value, bytes) else None}


def open_token_bytes(x):
    t = sealed.token(octets(x["payload"]))
    return {"epoch": t.epoch, "domain": t.domain, "hash": t.hash.hex()}


def open_core(x):
    c = envelope.verify_core(octets(x["core"]), the_policy(x))
    return {"kid": c.kid.hex(), "commit": c.commit.hex(), "not_before": c.not_before_ms, "not_after": c.not_after_ms,
            "pipeline": c.pipeline, "class": c.class_name}


def open_wrap(x):
    key = envelope.unwrap(octets(x["wrap"]), holder(x["secret"]), octets(x["commit"]))
    return {"key": key._key.hex()}


def open_envelope(x):
    p = the_policy(x)
    core, wraps = envelope.split(octets(x["envelope"]))
    c, me = envelope.verify_core(core, p), holder(x["secret"])
    mine = [w for w in wraps if envelope.wrap_recipient(w) == me.id]
    if not mine:
        raise errors.Recipient("envelope")
    return {"key": envelope.unwrap(mine[0], me, c.commit)._key.hex(), "class": c.class_name}


def open_keyfile(x):
    key = keyfile.decode(octets(x["file"]), octets(x["passphrase"]))
    return {"type": keyfile.NAMES[key.type], "label": key.label, "secret": key._secret.hex()}


def open_permissions(x):
    keyfile.permitted(int(x["mode"], 8) if isinstance(x["mode"], str) else x["mode"], x["owner"], x["euid"])
    return {}


def open_policy(x):
    root = octets(x.get("root") or VECTORS["roots"]["good"])
    p = policy.decode(octets(VECTORS["policies"][x["policy"]]), root).usable(x["pipeline"], x["serial_min"], x["now"])
    return {"serial": p.serial, "hash": p.hash.hex(), "pipeline": p.pipeline}


def open_root(x):
    policy.root_replaced(octets(x["old_root"]), x["pipeline"], x["serial"], octets(x["new_root"]), octets(x["signature"]))
    return {}


def open_public(x):
    {"box": keyfile.check_box, "sign": keyfile.check_sign}[x["use"]](octets(x["pk"]))
    return {}


def open_role(x):
    key = release.role_key(octets(x["sealed"]), holder(x["secret"], keyfile.MEMBER, "member-ana"), x["role"], x["epoch"], octets(x["pk"]))
    return {"secret": key._secret.hex()}


def open_handover(x):
    head, content = handover.decode(octets(x["file"]), holder(x["secret"], keyfile.MEMBER, "member-ana"))
    return {"pipeline": head.pipeline, "name": head.name, "format": head.format, "purpose": head.purpose, "created": head.created_ms,
            "sha256": hashlib.sha256(content).hexdigest(), "length": len(content), "content": content.hex() if len(content) < 64 else None}


def open_audit(x):
    text = x["text"]
    return {"hash": audit.row_hash(octets(x["prev"]), text.encode() if not re.fullmatch(r"(?:[0-9a-f]{2})*", text) else octets(text)).hex()}


def open_audit_head(x):
    audit.verify_head(octets(x["audit"]), x["pipeline"], x["id"], octets(x["hash"]), x["at"], octets(x["signature"]))
    return {}


def test_there_are_enough_vectors():
    kinds = {v["kind"] for v in VECTORS["vectors"]} - OF_A_WRITER
    assert len(VECTORS["vectors"]) >= 60 and kinds == {n.removeprefix("open_") for n in globals() if n.startswith("open_")} - {"one"}


@pytest.mark.parametrize("vector", [v for v in VECTORS["vectors"] if v["kind"] not in OF_A_WRITER], ids=lambda v: v["id"])
def test_vector(vector):
    open_ = globals()["open_" + vector["kind"]]
    if vector["error"] == "ok":
        assert open_(vector["in"]) == vector["out"], vector["words"]
    else:
        refused(vector["error"], open_, vector["in"])


def test_contents_of_hand_overs():
    """CSV keeps digits as text and tells null from empty; marks are no texts, and texts no marks."""
    from weir_reader import ERASED, Sealed, content
    names, rows = content.csv('cpf,name,n\r\n03183652505,"a ""b"", c",\r\n,"",<erased>\r\n\\<erased>,"x\r\ny",<auth>\r\n')
    assert names == ["cpf", "name", "n"]
    assert rows[0] == ["03183652505", 'a "b", c', None] and rows[1] == [None, "", ERASED]
    assert rows[2][:2] == ["<erased>", "x\r\ny"] and isinstance(rows[2][2], Sealed) and rows[2][2].error.name == "auth"
    names, rows = content.ndjson('{"a":1,"b":{"$sealed":"erased"}}\n{"a":"007","b":{"$$sealed":"erased"}}\n')
    assert names == ["a", "b"] and rows == [[1, ERASED], ["007", {"$sealed": "erased"}]]
    assert content.csv("") == ([], []) and content.ndjson("") == ([], [])
