"""The header fields of one message, found by name."""

from __future__ import annotations

from proxy.core.model import Headers, Terms


class Fields(dict[bytes, bytes]):
    """The first value of each field by its name in lower case; `raw` holds all of them as received,
    `repeats` says whether there is a field of which there are more. `terms` is what a request's fields were
    found to say, once somebody has looked.

    A message's fields are asked for a dozen times on its way, so their names are folded once.
    """

    __slots__ = ("raw", "repeats", "terms")

    def __init__(self, raw: Headers = (), first: dict[bytes, bytes] | None = None) -> None:
        """`first` is what is to be found by name, where somebody has collected that already."""
        super().__init__({name.lower(): value for name, value in raw[::-1]} if first is None else first)
        self.raw = raw
        self.repeats = len(self) != len(raw)
        self.terms: Terms | None = None

    def every(self, name: bytes) -> list[bytes]:
        """All values of the field `name` (lower case), in order."""
        if not self.repeats:
            return [self[name]] if name in self else []
        return [value for key, value in self.raw if key.lower() == name]
