"""Headers of a response that need no check."""

from __future__ import annotations

from collections.abc import Container, Iterable

from werkzeug.datastructures import Headers


def add_clean(headers: Headers, fields: Iterable[tuple[str, str]]) -> None:
    """Add fields whose values are known to be text of one line: figures and names of our own.

    ``headers.add`` checks each with five calls, which for a dozen of them is a tenth of what a
    cached page costs.
    """
    headers._list.extend(fields)


def replace_clean(
    headers: Headers, names: Container[str], fields: Iterable[tuple[str, str]]
) -> None:
    """Put such fields in the place of any that there are of these names, given in small letters."""
    for kept in headers._list:
        if kept[0].lower() in names:
            headers._list[:] = [each for each in headers._list if each[0].lower() not in names]
            break
    add_clean(headers, fields)


def has_field(headers: Headers, name: str) -> bool:
    """Whether there is a field of this name, given in small letters.

    Of ``in`` an absent one costs an exception that is made as if for an answer.
    """
    for known, _ in headers._list:  # noqa: SIM110  # of few, faster
        if known.lower() == name:
            return True
    return False
