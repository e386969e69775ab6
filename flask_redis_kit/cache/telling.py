"""Whether the functions in ``vary=`` tell users apart, as far as can be seen from outside.

They run when the user has been loaded, perhaps: then a function for the language looks like one for
the user. What tells users apart gives something that the session has, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_DEEPEST = 3
_MOST = 1000


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
    contents = _values(session, _DEEPEST)
    return any(str(value) in given for value, _ in zip(contents, range(_MOST), strict=False))


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
