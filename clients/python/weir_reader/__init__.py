"""Opens what Weir has sealed, for who holds a member key.

    import weir_reader
    with weir_reader.Reader(dsn, "loans", "member-ana.key") as reader:
        loans = reader.frame("SELECT * FROM development_schema.process", purpose="credit risk model")
"""

from . import audit, envelope, errors, handover, keyfile, policy, sealed, values
from .errors import SealError
from .reader import ERASED, Opened, Reader, Sealed, load_key, open_file

__all__ = ["ERASED", "Opened", "Reader", "SealError", "Sealed", "audit", "envelope", "errors", "handover", "keyfile",
           "load_key", "open_file", "policy", "sealed", "values"]
