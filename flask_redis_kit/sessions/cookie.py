"""The cookie: what a response does with it, its header, and settings that browsers would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from werkzeug.http import dump_cookie

_LATER = "\0"  # no setting can hold it


class Cookie(Enum):
    """What a response does with the session's cookie."""

    KEEP = "keep"
    SET = "set"
    DELETE = "delete"

    def after(self, other: Cookie) -> Cookie:
        """What two steps of one request come to, of which this is the second."""
        return other if self is Cookie.KEEP else self


class CookieSettings(NamedTuple):
    """The settings ``SESSION_COOKIE_…`` that browsers look at."""

    name: str
    secure: bool
    domain: str | None
    path: str
    samesite: str | None
    partitioned: bool

    def errors(self) -> Iterator[tuple[str, str]]:
        """Settings with which every browser drops the cookie: each with its cure."""
        prefix = self.name[: self.name.find("-") + 1].lower()
        named = f"SESSION_COOKIE_NAME={self.name!r}"
        if prefix in ("__host-", "__secure-") and not self.secure:
            yield named, "set SESSION_COOKIE_SECURE=True"
        if prefix == "__host-" and self.domain is not None:
            yield named, "set no SESSION_COOKIE_DOMAIN"
        if prefix == "__host-" and self.path != "/":
            yield named, "set SESSION_COOKIE_PATH='/'"
        if self.partitioned and not self.secure:
            yield "SESSION_COOKIE_PARTITIONED=True", "set SESSION_COOKIE_SECURE=True"
        if self.samesite is not None and self.samesite.lower() == "none" and not self.secure:
            yield f"SESSION_COOKIE_SAMESITE={self.samesite!r}", "set SESSION_COOKIE_SECURE=True"

    def warnings(self) -> Iterator[str]:
        """What an application in production should set, each with the reason."""
        if not self.secure:
            yield (
                f"The session's cookie {self.name!r} goes over plain HTTP, too, where anybody can "
                "read it: set SESSION_COOKIE_SECURE=True in production."
            )
        if self.samesite is None:
            yield (
                f"The session's cookie {self.name!r} is sent along with requests that other sites "
                "cause: set SESSION_COOKIE_SAMESITE='Lax'."
            )


def set_cookie_header(
    name: str, sid: str, expires: str | None, attributes: tuple[tuple[str, Any], ...]
) -> str:
    """The field ``Set-Cookie`` of an id, which needs no quotes: as ``dump_cookie`` makes it.

    ``expires``     as HTTP writes a date; None: with the browser.
    ``attributes``  the arguments of ``dump_cookie``, always the same ones in an application.
    """
    before, after = _around(name, expires is not None, attributes)
    if expires is None:
        return f"{before}{sid}{after}"
    middle, _, rest = after.partition(_LATER)
    return f"{before}{sid}{middle}{expires}{rest}"


@lru_cache(maxsize=64)
def _around(name: str, permanent: bool, attributes: tuple[tuple[str, Any], ...]) -> tuple[str, str]:
    """What stands before an id and after it, with ``_LATER`` first there for a date."""
    text = dump_cookie(name, "", expires=_LATER if permanent else None, **dict(attributes))
    before, equals, after = text.partition("=")
    return before + equals, after
