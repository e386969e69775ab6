"""What a route's responses vary by besides the URL: request headers, and functions of the user's.

A header that isn't there is another variant than an empty one. Of headers that state preferences
(RFC 9110, 12.5) case, spaces and the spelling of weights don't count, nor does the order of
different weights; the order of equal ones does, as servers break ties by it, except among codings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from flask_redis_kit.cache.options import Factor

MAX_BYTES = 4096
"""A longer value of a varying header can't be a part of a key."""

_PREFERENCES = frozenset({"accept", "accept-charset", "accept-encoding", "accept-language"})
_UNORDERED = frozenset({"accept-charset", "accept-encoding"})
_IDENTITIES = frozenset({"authorization", "cookie"})
_WORD = r"[\w!#$&^.+*/-]+"
_ITEM = rf"{_WORD}(?:[ \t]*;[ \t]*(?![qQ]=){_WORD}={_WORD})*"
_WEIGHTED = rf"[ \t]*{_ITEM}(?:[ \t]*;[ \t]*[qQ]=(?:0(?:\.\d{{1,3}})?|1(?:\.0{{1,3}})?))?[ \t]*"
_WELL_FORMED = re.compile(rf"{_WEIGHTED}(?:,{_WEIGHTED})*", re.ASCII)
"""What all read alike. Of anything else each parser makes its own: there every character counts, or
a visitor could have the page for nonsense stored as that of what it was taken for."""
_WEIGHT = re.compile(r"[qQ]=([01](?:\.\d{1,3})?)\Z")


class Variants:
    """The ``vary=`` of one decorator.

    ``names``      the headers, in lower case.
    ``factors``    the functions.
    ``personal``   whether it may tell users apart: by a function, or by a header that says who
                   asks. (Others, such as a language, leave one user's page to everybody.)
    ``of_session`` whether it may tell sessions apart: by a function, or by the cookies.
    """

    __slots__ = ("_headers", "factors", "names", "of_session", "personal", "titles")

    def __init__(self, vary: Sequence[str | Factor]) -> None:
        titles = {each.strip().lower(): each.strip() for each in vary if isinstance(each, str)}
        self.titles = tuple(titles.values())
        self.names = frozenset(titles)
        self.factors: tuple[Factor, ...] = tuple(each for each in vary if not isinstance(each, str))
        self.personal = bool(self.factors) or not self.names.isdisjoint(_IDENTITIES)
        self.of_session = bool(self.factors) or "cookie" in self.names
        self._headers = [(name, _variable(name)) for name in sorted(titles)]

    def covers(self, name: str) -> bool:
        """Whether responses that differ by this header have keys of their own."""
        return name.lower() in self.names

    def results(self) -> list[object]:
        """What the functions give, called in their order."""
        return [factor() for factor in self.factors]

    def spelled(self, environ: Mapping[str, Any]) -> list[str | None]:
        """This request's values of the headers, as they are."""
        return [environ.get(variable) for _, variable in self._headers]

    def add_to(
        self,
        key: dict[str, Any],
        environ: Mapping[str, Any],
        results: Sequence[object] | None = None,
    ) -> bool:
        """Add this request's variant to its key; False if a header is too long for one.

        ``results`` of the functions, if they were called already.
        """
        for name, variable in self._headers:
            value = environ.get(variable)
            if value is not None:
                if len(value) > MAX_BYTES:
                    return False
                value = normalised(name, value)
            key[f"header:{name}"] = value
        for n, result in enumerate(self.results() if results is None else results):
            key[f"vary[{n}]"] = result
        return True


def _variable(name: str) -> str:
    """Where WSGI keeps a header."""
    variable = name.upper().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"


@lru_cache(maxsize=512)
def normalised(name: str, value: str) -> str:
    """A header's value, spelled one way; ``name`` is in lower case."""
    if name not in _PREFERENCES or not _WELL_FORMED.fullmatch(value):
        return value.strip()
    weighed = [_weighed(item) for item in value.split(",")]
    if name in _UNORDERED:
        weighed.sort()
    else:
        weighed.sort(key=lambda each: each[0])
    return ",".join(item if weight == -1 else f"{item};q={-weight:g}" for weight, item in weighed)


def _weighed(item: str) -> tuple[float, str]:
    """An item without its weight, and before it the weight made negative, so as to sort by it."""
    parts = ["".join(part.split()) for part in item.split(";")]
    parts[0] = parts[0].lower()
    for n, part in enumerate(parts):
        weight = _WEIGHT.match(part)
        if weight:
            return -float(weight[1]), ";".join(parts[:n] + parts[n + 1 :])
    return -1.0, ";".join(parts)
