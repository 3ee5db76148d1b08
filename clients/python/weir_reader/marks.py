"""What stands in the place of a value that did not open."""


class _Erased:
    """In the place of a value of a person who was erased. False, so that `if value` skips it."""

    def __repr__(self):
        return "ERASED"

    def __bool__(self):
        return False

    def __reduce__(self):
        return "ERASED"


ERASED = _Erased()


class Sealed:
    """In the place of a value that did not open, with on_error="mark": `error` says why."""

    def __init__(self, error):
        self.error = error

    def __repr__(self):
        return f"<not opened: {self.error.name}>"
