"""How opening fails. The names are an interface: the C code, the vectors and this reader use the same ones.
No error says more than its class, since a reason that depends on secret bytes would be an oracle."""


class SealError(Exception):
    """What all of them are. `name` is the stable word; str() is for a person."""

    name = "error"
    words = "an error"

    def __init__(self, what=""):
        super().__init__(f"{what}: {self.words} ({self.name})" if what else f"{self.words} ({self.name})")


class Malformed(SealError):
    name, words = "malformed", "not the bytes of this format"


class Version(SealError):
    name, words = "version", "an unknown version"


class Suite(SealError):
    name, words = "suite", "an unknown suite"


class Flags(SealError):
    name, words = "flags", "an unknown flag"


class Padding(SealError):
    name, words = "padding", "padding that is not allowed, or is not padding"


class Size(SealError):
    name, words = "size", "longer than the format allows"


class Key(SealError):
    name, words = "key", "sealed under another key than this one"


class Commit(SealError):
    name, words = "commit", "the key is not the one that was committed to"


class Auth(SealError):
    name, words = "auth", "changed, or not from this record, field, subject or key"


class Value(SealError):
    name, words = "value", "inside is not exactly one value"


class Erased(SealError):
    name, words = "erased", "the person was erased"


class Signature(SealError):
    name, words = "signature", "the signature does not hold"


class Sealer(SealError):
    name, words = "sealer", "signed by a sealer that the policy does not list"


class Policy(SealError):
    name, words = "policy", "not what the policy says, or an older or another policy"


class Validity(SealError):
    name, words = "validity", "not valid at this time"


class LowPoint(SealError):
    name, words = "lowpoint", "a public key that makes no secret"


class Permissions(SealError):
    name, words = "permissions", "a key file that others may read, or of another owner"


class Kdf(SealError):
    name, words = "kdf", "key derivation parameters out of bounds"


class Passphrase(SealError):
    name, words = "passphrase", "a wrong passphrase, or none"


class Recipient(SealError):
    name, words = "recipient", "not sealed to this key"


class Truncated(SealError):
    name, words = "truncated", "ends before its end"


class System(SealError):
    name, words = "system", "the operating system refused"


BY_NAME = {c.name: c for c in SealError.__subclasses__()}
