"""The computations that run now, the innermost last: a value gets the tags added meanwhile.

A tag that is added in a cached function called by another one reaches both. So do the tags of a
value that was found rather than computed: the outer value is made of it, and so as old as that if
it was invalidated softly. As the outer value's epoch
was read before, an invalidation in between makes both of them misses.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from types import TracebackType

from flask_redis_kit.cache.ttl import Lifetime
from flask_redis_kit.cache.verdict import Call

_running: ContextVar[Running | None] = ContextVar("redis_kit_cache_running", default=None)
_USERS = b"t"  # tags of the user's; the others are a value's own


class Running:
    """One computation in its context (thread, asyncio task), for the time of a ``with`` block.

    ``owner`` is the cache it belongs to: of several kits and applications each has its own tags.
    Tasks started meanwhile belong to it; threads don't.
    """

    __slots__ = ("_name", "_old", "_outer", "_owner", "_tags")

    def __init__(self, owner: object, call: Call) -> None:
        self._owner = owner
        self._name: str | None = call.digest.text
        self._outer: Running | None = None
        self._old = False
        self._tags = dict.fromkeys(tag for tag in call.tags if tag.startswith(_USERS))

    @property
    def tags(self) -> tuple[bytes, ...]:
        """The user's tags, as members of the log: those it began with and those added since."""
        return tuple(self._tags)

    def lifetime(self, wanted: Lifetime) -> Lifetime | None:
        """How long the value lives; one made of an old value only in its grace, if it has one."""
        if not self._old:
            return wanted
        return Lifetime(0, wanted.grace_ms) if wanted.grace_ms else None

    def add(self, tags: Iterable[bytes], *, old: bool = False) -> None:
        """Add tags to this value, and to those that are made of it; ``old``: so are they."""
        mine = [tag for tag in tags if tag.startswith(_USERS)]
        each: Running | None = self
        while each is not None:
            if each._owner is self._owner:
                each._tags.update(dict.fromkeys(mine))
                each._old |= old
            each = each._outer

    def __enter__(self) -> Running:
        self._outer = _running.get()
        self.add(self._tags.copy())
        _running.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._name = None  # tasks that were started meanwhile may go on
        # a task that is destroyed may end in another context, whose computation this isn't
        if _running.get() is self:
            _running.set(self._outer)


def is_computing(name: str) -> bool:
    """Whether the value with this digest is computed by who asks: to wait for it is in vain."""
    running = _running.get()
    while running is not None and running._name != name:
        running = running._outer
    return running is not None


def is_any() -> bool:
    """Whether anything is computed by who asks."""
    return _running.get() is not None


def tag(owner: object, tags: Iterable[bytes], *, old: bool = False) -> None:
    """Add tags to all values that are being computed here; nothing if there are none.

    ``old``: they are made of a value that was invalidated softly.
    """
    running = _running.get()
    while running is not None and running._owner is not owner:
        running = running._outer
    if running is not None:
        running.add(tags, old=old)
