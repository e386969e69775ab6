"""What a request changed in its session."""

from __future__ import annotations

from typing import Final, NamedTuple

PERMANENT: Final = "_permanent"
"""The field of ``session.permanent``, named as Flask names it."""
IDENTITY: Final = ("_user_id", "user_id")
"""The fields that say who the user is: a change of one is a login or a logout."""

_PERMANENT = PERMANENT.encode()
_IDENTITY = tuple(name.encode() for name in IDENTITY)


class Changes(NamedTuple):
    """What a request changed: encoded fields by name, and the names that it removed."""

    changed: dict[bytes, bytes]
    removed: list[bytes]

    @property
    def identity(self) -> bool:
        """Whether this is another user than before, or none any more."""
        if not (self.changed or self.removed):
            return False
        return any(name in self.changed or name in self.removed for name in _IDENTITY)

    @property
    def permanence(self) -> bool:
        """Whether ``permanent`` changed."""
        return _PERMANENT in self.changed or _PERMANENT in self.removed
