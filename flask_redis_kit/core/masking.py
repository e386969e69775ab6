"""Hiding the secrets of a URL in anything that a person may read.

A URL that can't be parsed is the one that gets printed, and then nobody knows where its password
ends: ``redis://user:p/w@h`` has ``user`` as its host. So a text that isn't known to be a right URL
loses everything from the first place where a password may begin to the last where one may end.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from flask_redis_kit.core.options import OPTIONS

HIDDEN = "***"
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_HOSTS = re.compile(r"(?:\[[0-9A-Fa-f:.]*\]|[\w.-]*)(?::[0-9]{0,5})?")
_NO_SECRET = re.compile(r"[^:@=]*|[\w.-]+:[0-9]{1,5}(?:/[0-9]*)?")
_SECRET_WORDS = ("pass", "pwd", "secret", "token", "auth", "credential")


def conceal(text: str, *, sound: bool = False) -> str:
    """``text`` with its passwords as ``***``; ``sound``: it is known to be a right URL.

    Never raises. What can't be told from a secret is hidden with it.
    """
    scheme = SCHEME.match(text)
    if scheme is None:
        return text if _NO_SECRET.fullmatch(text) else HIDDEN
    head, rest = scheme.group(), text[scheme.end() :]
    at = _end_of_userinfo(rest, sound=sound)
    userinfo, address = rest[: max(at, 0)], rest[at + 1 :]
    place, mark, query = address.partition("?")
    if not sound and (_names_a_secret(userinfo) or not _shows_no_secret(place)):
        return head + HIDDEN
    shown = head
    if at >= 0:
        user, colon, _ = userinfo.partition(":")
        # a lone user is nearly always a password that lacks its colon
        shown += f"{user}:{HIDDEN}@" if colon else f"{HIDDEN}@"
    return shown + place + mark + _conceal_query(query, sound=sound)


def _end_of_userinfo(rest: str, *, sound: bool) -> int:
    if not sound:
        return rest.rfind("@")
    path = rest.partition("?")[0]
    # host:1/x@y is sound as a service "x@y", and yet it may be a password with a slash
    return -1 if path.startswith("/") else path.rfind("@")


def _names_a_secret(userinfo: str) -> bool:
    """A query before the last ``@``: then what follows that ``@`` may be the end of a secret."""
    return any(_is_secret(part) for part in re.split("[?&;#]", userinfo) if "=" in part)


def _shows_no_secret(place: str) -> bool:
    netloc = re.split("[/#]", place, maxsplit=1)[0]
    return "=" not in place and all(_HOSTS.fullmatch(member) for member in netloc.split(","))


def _conceal_query(query: str, *, sound: bool) -> str:
    parts = re.split("(&)" if sound else "([&;#?])", query)
    shown = ""
    hiding = False
    for index, part in enumerate(parts):
        if index % 2:
            shown += "" if hiding and not _starts_option(parts[index + 1]) else part
        elif _is_secret(part):
            hiding = True
            shown += part.partition("=")[0] + f"={HIDDEN}"
        elif not hiding or _starts_option(part):
            hiding = False
            shown += part
    return shown


def _starts_option(part: str) -> bool:
    return unquote(part.partition("=")[0]) in OPTIONS


def names_secret(name: str) -> bool:
    """Whether what goes by this name is to be hidden: passwords, tokens, credentials."""
    return any(word in name.lower() for word in _SECRET_WORDS)


def _is_secret(part: str) -> bool:
    return names_secret(unquote(part.partition("=")[0]))
