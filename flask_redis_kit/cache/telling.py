"""Whether the functions in ``vary=`` tell users apart, as far as can be seen from outside.

They run when the user has been loaded, perhaps: then a function for the language looks like one for
the user. What tells users apart gives something that the session has, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from flask_redis_kit.core.session_watch import (
    OF_ITSELF,
    SessionWatch,
    current_session,
    keys_read,
    moments,
)

_DEEPEST = 3
_MOST = 1000


class Told(NamedTuple):
    """What the functions in ``vary=`` gave.

    ``asked``  whether they have read the session.
    ``keys``   which of its keys each has read; None if the session doesn't tell.
    ``loaded`` which were read before, as by who loads the user.
    """

    results: list[object]
    asked: bool
    keys: list[frozenset[str]] | None
    loaded: frozenset[str] = frozenset()

    def untold(self, read: frozenset[str] | None) -> frozenset[str] | None:
        """Of the keys that were read, those that don't follow from what the functions gave.

        What follows: the keys that they have read themselves, and those whose value they gave; and
        all if that is the user's id. None: which were read is not known; but something was that
        does not follow.
        """
        session = current_session()
        if self.keys is None or read is None:
            apart = self.asked or tells_users_apart(self.results, session or {})
            return frozenset() if apart else None
        rest = read.difference(*self.keys)
        if not rest:
            return rest
        contents: Mapping[str, Any] = session.peek()
        if not contents and not self.asked and rest.isdisjoint(OF_ITSELF):
            return frozenset()  # of a session with nothing in it all users are one
        given = self._given_keys(self.keys, contents)
        return frozenset() if given.intersection(session.identity_keys) else rest - given

    def _given_keys(self, keys: list[frozenset[str]], contents: Mapping[str, Any]) -> set[str]:
        """The keys whose values the functions gave."""
        found: set[str] = set()
        # what has read none itself may have it from whoever has loaded the user. It equals what the
        # others read, or what the view reads later, by chance: another visitor's would not
        before = self.loaded.difference(*keys)
        for result, read in zip(self.results, keys, strict=True):
            if _is_plain(result):
                among = (read or before) & contents.keys()
                found |= {key for key in among if _holds(contents[key], {str(result)})}
        return found

    @property
    def of_nobody(self) -> bool:
        """Whether the functions gave nothing but None, as they do for a visitor without a login."""
        return all(result is None for result in self.results)


def ask(factors: Iterable[Callable[[], object]]) -> Told:
    """Call the functions in ``vary=``."""
    watch = SessionWatch()
    results: list[object] = []
    keys: list[frozenset[str] | None] = []
    loaded = keys_read() or frozenset()
    try:
        for factor in factors:
            before = next(moments)
            results.append(factor())
            keys.append(keys_read(before))
    finally:
        asked = watch.end()
    known = [each for each in keys if each is not None]
    return Told(results, asked, known if len(known) == len(keys) else None, loaded)


def tells_users_apart(results: Sequence[object], session: Mapping[str, Any]) -> bool | None:
    """Whether one of the functions' results stands in the session.

    Of a session with nothing in it all users are one: True. None: the functions gave nothing but
    None, as they do for nobody; what they give for somebody, this can't tell.
    """
    if not session:
        return True
    given = {str(result) for result in results if _is_plain(result)}
    if not given:
        return None if all(result is None for result in results) else False
    return _holds(session, given)


def _holds(value: object, given: Set[str]) -> bool:
    """Whether one of these stands in a value, or is it."""
    if not isinstance(value, Mapping | list | tuple):
        return _is_plain(value) and str(value) in given
    found = zip(_values(value, _DEEPEST), range(_MOST), strict=False)
    return any(str(each) in given for each, _ in found)


def _is_plain(value: object) -> bool:
    """Whether a value may be somebody's name or number. ``True`` is nobody's."""
    if value is None or isinstance(value, bool):
        return False
    return value != "" if isinstance(value, str) else not isinstance(value, Iterable)


def _values(values: Mapping[str, Any] | Sequence[Any], depth: int) -> Iterator[object]:
    for value in values.values() if isinstance(values, Mapping) else values:
        if isinstance(value, Mapping | list | tuple):
            if depth:
                yield from _values(value, depth - 1)
        elif _is_plain(value):
            yield value
