"""What is inside of a sealed field: exactly one MessagePack value. As Python has it: None, bool, int, float, str,
bytes (a raw event), decimal.Decimal, datetime.date, datetime.datetime in UTC, and json as Json."""

import datetime
import decimal
import json
import math

import msgpack

from .errors import Value

EXT_DECIMAL, EXT_DATE, EXT_TIMESTAMP, EXT_JSON = 1, 2, 3, 4
SCALE_MAX, UNITS_BYTES_MAX, DIGITS_MAX = 18, 16, 38
EPOCH_DATE = datetime.date(1970, 1, 1)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
FLOAT32, NEVER_USED = 0xCA, 0xC1
EXACT = decimal.Context(prec=DIGITS_MAX + SCALE_MAX + 2)


class Json:
    """A json value: `text` as it was, `value` parsed (numbers with a fraction are floats)."""

    __slots__ = ("text",)

    def __init__(self, text):
        self.text = text

    @property
    def value(self):
        return json.loads(self.text)

    def __eq__(self, other):
        return isinstance(other, Json) and other.text == self.text

    def __hash__(self):
        return hash(self.text)

    def __repr__(self):
        return f"Json({self.text!r})"


def _extension(code, data):
    if code == EXT_DECIMAL and 2 <= len(data) <= 1 + UNITS_BYTES_MAX and data[0] <= SCALE_MAX:
        units = int.from_bytes(data[1:], "big", signed=True)
        if abs(units) < 10 ** DIGITS_MAX:
            return EXACT.scaleb(decimal.Decimal(units), -data[0])
    elif code == EXT_DATE and len(data) == 8:
        return EPOCH_DATE + datetime.timedelta(days=int.from_bytes(data, "big", signed=True))
    elif code == EXT_TIMESTAMP and len(data) == 8:
        return EPOCH + datetime.timedelta(microseconds=int.from_bytes(data, "big", signed=True))
    elif code == EXT_JSON:
        return Json(data.decode())
    raise ValueError


def decode(plain):
    """The one value; Value for anything else: other types, two values, bytes after it."""
    first = plain[0] if plain else NEVER_USED
    scalar = first <= 0x7F or first >= 0xA0 and not 0xDC <= first <= 0xDF
    if not scalar or first in (FLOAT32, NEVER_USED):  # arrays and maps are 0x80..0x9F, 0xDC..0xDF
        raise Value("sealed value")
    try:
        value = msgpack.unpackb(plain, raw=False, ext_hook=_extension, strict_map_key=True)
    except (ValueError, OverflowError, TypeError, msgpack.exceptions.UnpackException):
        raise Value("sealed value") from None
    if not _allowed(value):
        raise Value("sealed value")
    return value


def _allowed(value):
    if isinstance(value, (str, Json)):
        return "\0" not in (value if isinstance(value, str) else value.text)
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, msgpack.Timestamp) and (type(value) is not int or -2**63 <= value < 2**63)
