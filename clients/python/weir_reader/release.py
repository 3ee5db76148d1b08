"""The audited release: keys are asked for by request(), which writes the audit row; committed; then fetched. Two
steps, since one could be rolled back after the keys were seen."""

from . import envelope, policy as policies
from .errors import Commit, Key, Malformed, Policy, Recipient, SealError
from .keyfile import ROLE, SecretKey

KIDS_MAX, SIDS_MAX = 10_000, 100_000
SEALED_BYTES = 80


class Keys:
    """What releases gave so far: data keys by kid, secrets by sid (None: erased), and why a key did not open."""

    def __init__(self):
        self.data, self.secrets, self.refused = {}, {}, {}


def _pieces(kids, sids):
    kids, sids = sorted(kids), sorted(sids)
    for i in range(max(-(-len(kids) // KIDS_MAX), -(-len(sids) // SIDS_MAX))):
        yield kids[i * KIDS_MAX:(i + 1) * KIDS_MAX], sids[i * SIDS_MAX:(i + 1) * SIDS_MAX]


def role_key(sealed, member, role, epoch, public):
    """A role's secret, sealed to a member. public: the role's key as the policy has it."""
    if len(sealed) != SEALED_BYTES:
        raise Malformed("role key")
    key = SecretKey(ROLE, f"role-{role}-{epoch}", member.unseal(sealed))
    if key.public != public:
        raise Commit(key.label)
    return key


def roles(rows, member, policy):
    """The member's role keys: [(member's name, rkid, pk, sealed)] opened, each the one that the policy lists."""
    name = member.label.removeprefix("member-")
    public = {role.public: role for role in policy.roles.values()}
    found = []
    for who, _, pk, sealed in rows:
        role = public.get(bytes(pk))
        if who != name or role is None:
            continue
        try:
            found.append(role_key(sealed, member, role.name, role.epoch, role.public))
        except Recipient:
            continue  # sealed to an earlier key of this member
    return found


class Release:
    """connection: autocommit, so that each request is committed by itself. trust: see Reader."""

    def __init__(self, connection, pipeline, member, trust):
        assert connection.autocommit, "a request must be committed before its fetch"
        self.connection, self.pipeline, self.member, self.trust = connection, pipeline, member, trust
        self._policy = None

    @property
    def policy(self):
        """The policy in force, verified."""
        if self._policy is None:
            row = self.connection.execute("SELECT root, body FROM key_schema.policy_current(%s)", (self.pipeline,),
                                          binary=True).fetchone()
            self._policy = self.trust.policy(*row)
        return self._policy

    def ask(self, keys, kids, sids, purpose):
        """Adds what is not there yet. One audit row per 10,000 data keys or 100,000 persons."""
        self._policy = None  # another one may be in force by now
        kids, sids = set(kids) - keys.data.keys() - keys.refused.keys(), set(sids) - keys.secrets.keys()
        for some_kids, some_sids in _pieces(kids, sids):
            ticket = self.connection.execute(
                "SELECT key_schema.request(%s, %s::bytea[], %s::bytea[], %s)",
                (self.pipeline, some_kids, some_sids, purpose)).fetchone()[0]
            rows = self.connection.execute("SELECT kind, id, rkid, core, body FROM key_schema.fetch(%s)",
                                           (ticket,), binary=True).fetchall()
            self._take(keys, rows)
            known = {bytes(row[1]) for row in rows if row[0] == "wrap"}
            for kid in some_kids:
                if kid not in keys.data:
                    keys.refused.setdefault(kid, Recipient("no key of yours opens this") if kid in known
                                            else Key("no envelope of this data key is published"))
            for sid in some_sids:
                keys.secrets.setdefault(sid, None)  # nobody knows this person: nothing opens

    def _take(self, keys, rows):
        by_kind = {}
        for kind, *rest in rows:
            by_kind.setdefault(kind, []).append(rest)
        holders = [self.member, *roles([(bytes(i).decode(), rkid, pk, sealed) for i, rkid, pk, sealed in by_kind.get("role", [])],
                                       self.member, self.policy)]
        holders = {key.id: key for key in holders}
        for kid, rkid, core, wrap in by_kind.get("wrap", []):
            if bytes(rkid) in holders and bytes(kid) not in keys.data:
                self._unwrap(keys, bytes(kid), holders[bytes(rkid)], core, wrap)
        for sid, _, _, secret in by_kind.get("subject", []):
            keys.secrets[bytes(sid)] = None if secret is None else bytes(secret)

    def _unwrap(self, keys, kid, holder, core, wrap):
        try:
            found = envelope.verify_core(bytes(core), self.policy)
            if found.kid != kid:
                raise Policy("envelope of another key")
            keys.data[kid] = envelope.unwrap(bytes(wrap), holder, found.commit)
            keys.refused.pop(kid, None)
        except SealError as e:
            keys.refused[kid] = e


class Trust:
    """Which policy is believed. root: 32 bytes, or None: the root that the database pins. policy: bytes of a policy
    file, or None: the one in the database. serial_min: refuses older ones."""

    def __init__(self, pipeline, root=None, policy=None, serial_min=0):
        self.pipeline, self.root, self.file, self.serial_min = pipeline, root, policy, serial_min

    def policy(self, root, body):
        """The verified policy, of the root that the database pins and the file that it offers."""
        if self.root is not None and root is not None and bytes(root) != self.root:
            raise Policy("the database pins another root")
        root = self.root if self.root is not None else root
        body = self.file if self.file is not None else body
        if root is None or body is None:
            raise Policy("no policy is installed")
        found = policies.decode(bytes(body), bytes(root)).usable(self.pipeline, self.serial_min)
        self.serial_min = max(self.serial_min, found.serial)
        return found
