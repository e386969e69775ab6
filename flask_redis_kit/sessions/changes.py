"""What a request changed in its session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

PERMANENT: Final = "_permanent"
"""The field of ``session.permanent``, named as Flask names it."""

_PERMANENT = PERMANENT.encode()


class Changes(NamedTuple):
    """What a request changed: encoded fields by name, and the names that it removed."""

    changed: dict[bytes, bytes]
    removed: list[bytes]

    def concern(self, fields: Iterable[bytes]) -> bool:
        """Whether one of these fields is among them."""
        changed, removed = self
        for field in fields:  # noqa: SIM110  # of few, faster
            if field in changed or field in removed:
                return True
        return False

    def and_also(self, others: Changes) -> Changes:
        """These and others, of other fields."""
        if not others:
            return self
        return Changes({**self.changed, **others.changed}, self.removed + others.removed)

    def applied_to(self, before: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """What fields are with these changes."""
        after = {**before, **self.changed}
        for name in self.removed:
            after.pop(name, None)
        return after

    @property
    def permanence(self) -> bool:
        """Whether ``permanent`` changed."""
        return _PERMANENT in self.changed or _PERMANENT in self.removed

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


NO_CHANGES: Final = Changes({}, [])
