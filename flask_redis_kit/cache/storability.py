"""May this response be stored, to be served to whoever asks the same?

RFC 9111, section 3, as for a shared cache; with two differences. ``Cache-Control: no-cache``
and ``max-age`` speak to the caches of others: here the decorator's ``ttl`` and its tags govern, so
that a view may tell browsers to ask each time, and be answered from this cache. And what a request
says in its ``Cache-Control`` is not heard: any visitor could make the application compute.
"""

from __future__ import annotations

from typing import NamedTuple

from flask import Request, Response
from werkzeug.datastructures import ResponseCacheControl
from werkzeug.http import parse_cache_control_header, parse_set_header

from flask_redis_kit.cache.options import Options
from flask_redis_kit.cache.signals import Reason
from flask_redis_kit.cache.telling import Told
from flask_redis_kit.cache.variants import Variants
from flask_redis_kit.core.session_watch import EVERY_KEY

STATUSES = frozenset({200, 203, 204, 300, 301, 404, 410})


class Refusal(NamedTuple):
    """Why a response is not stored.

    ``warning``  what to tell the developer, once per endpoint; None where the view meant it so.
    """

    reason: Reason
    warning: str | None = None


SESSION = Refusal(
    "session",
    "it reads the session, so it may be one user's. If it is the same for everyone, say "
    "@cache_result(public=True). If it is one page for each user, say who asks, such as "
    "vary=[lambda: current_user.get_id()]. Or cache the functions beneath the view, with the "
    "user's id as an argument.",
)
_UNREAD = (
    "it reads of the session what no function in vary= reads (%s), so vary= may not tell users "
    "apart. Give that in vary=, too; or, if it follows from what is given there (from who the user "
    "is, say), say public=True as well."
)
UNTOLD = Refusal(
    "session",
    "it reads the session, and what vary= gives does not stand in the session, so it may not tell "
    "users apart. If it does, or if the response is the same for everyone, say public=True as "
    "well; else say who asks, such as vary=[lambda: current_user.get_id()].",
)
NOBODY = Refusal("session")
"""``vary=`` gives None for a visitor who has a session: one of many, it may be."""


def untold(told: Told, read: frozenset[str] | None) -> Refusal | None:
    """Why a page for which these keys of the session were read may be another user's, if it may."""
    rest = told.untold(read)
    if rest is not None and not rest:
        return None
    if told.of_nobody:
        return NOBODY
    if rest is None or not told.asked:
        return UNTOLD
    named = "all of it"
    if EVERY_KEY not in rest:
        named = ", ".join(repr(key)[:40] for key in sorted(rest)[:3])
    return Refusal("session", _UNREAD % named)


WRITTEN = Refusal(
    "session",
    "it writes the session, which a page from the cache would not, and may show what only this "
    "visitor has got. Write it in a view of its own; if the page is the same for everyone, say "
    "@cache_result(public=True).",
)
AUTHORIZATION = Refusal(
    "authorization",
    "the request has an Authorization header. If the response is the same for everyone, say "
    "@cache_result(public=True) or Cache-Control: public; if it is one for each caller, "
    'vary=["Authorization"].',
)
COOKIE = Refusal("set-cookie", "it sets a cookie. Set cookies in a view of their own.")
LATE_COOKIE = Refusal(
    "set-cookie",
    "an after_request function sets a cookie. If the page is the same for everyone, say "
    "@cache_result(public=True).",
)
QUERY = Refusal("query")
BODY = Refusal("body")
VARY = Refusal("vary")


def refusal(
    response: Response, request: Request, options: Options, variants: Variants
) -> Refusal | None:
    """Why this response may not be stored; None if it may. Sends and reads nothing."""
    if response.status_code not in STATUSES:
        return Refusal("status")
    if response.direct_passthrough or response.is_streamed:
        return Refusal("stream", "it streams its response.")
    if "Set-Cookie" in response.headers:
        return COOKIE
    control = _cache_control(response)
    if control.no_store or control.private is not None:
        return Refusal("cache-control")
    varies = _whole(response, "Vary")
    if not all(variants.covers(name) for name in parse_set_header(varies)):
        return Refusal("vary", f"it varies by {varies}, which is not in its key: name it in vary=.")
    if needs_permission(request, options, variants) and not is_permitted(response):
        return AUTHORIZATION
    return None


def needs_permission(request: Request, options: Options, variants: Variants) -> bool:
    """Whether the request says who asks, and the decorator nothing about it."""
    if "HTTP_AUTHORIZATION" not in request.environ:
        return False
    return not options.public and not variants.covers("authorization")


def is_permitted(response: Response) -> bool:
    """Whether the response itself says that everyone may have it (RFC 9111, section 3.5)."""
    control = _cache_control(response)
    return bool(control.public) or control.s_maxage is not None


def _cache_control(response: Response) -> ResponseCacheControl:
    """What ``Cache-Control`` says in all its lines; directives know no case (RFC 9111, 5.2)."""
    text = _whole(response, "Cache-Control").lower()
    return parse_cache_control_header(text, cls=ResponseCacheControl)


def _whole(response: Response, name: str) -> str:
    """A header whose lines are one list: ``Response`` itself looks at the first only."""
    return ", ".join(response.headers.getlist(name))
