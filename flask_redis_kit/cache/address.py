"""Tags of URLs: what a route's responses are invalidated by when their URL is given.

A response hangs on its path, whatever host, query and variant it was asked for with, and one with
a query on that, too. Below a mount point it hangs on the path with and without it, so that either
spelling reaches it from everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from flask_redis_kit.cache.query import canonical_query
from flask_redis_kit.cache.tags import member

ANY = member("u", "*")
"""On this hang responses whose key leaves out parts of the path: any URL may be theirs."""

Allowed = tuple[str, ...] | None
"""The ``query=`` of a route."""


def tags_of_page(root: str, path: str, query: str, allowed: Allowed) -> tuple[bytes, ...]:
    """The tags of a response; ``query`` is the canonical one."""
    tags: list[bytes] = []
    for each in (path,) if not root else (path, root + path):
        tags.append(member("u", each))
        if query or allowed is not None:
            tags.append(member("u", f"{each}?{query}"))
    return tuple(tags)


def tags_of_url(url: object, declared: Iterable[Allowed]) -> list[bytes]:
    """What to invalidate for a URL, or a path, with or without a query.

    ``declared`` are the ``query=`` of all routes there are: which of them is asked for is not
    known here. ``TypeError`` or ``ValueError`` for what is no URL.
    """
    if not isinstance(url, str):
        raise TypeError(f"A URL must be a string, not {url!r}.")
    parts = urlsplit(url)
    if not parts.path.startswith("/") and (parts.path or not parts.netloc):
        raise ValueError(
            f"{url!r} is no URL of this application: write invalidate_url('/products/7'), or "
            "'https://shop.example/products/7'."
        )
    path = parts.path or "/"
    paths = dict.fromkeys((path, unquote(path)))
    queries = _queries(parts.query, declared)
    names = [f"{each}{query}" for each in paths for query in queries]
    if url.startswith("/"):  # perhaps not quoted, as request.path isn't: a `#` is of the path then
        names.append(url)
    return [*(member("u", name) for name in dict.fromkeys(names)), ANY]


def _queries(query: str, declared: Iterable[Allowed]) -> list[str]:
    """The ends of the names of tags: "" for all of a path."""
    raw = query.encode("utf-8", "surrogateescape")
    canonical = canonical_query(raw)
    if not canonical:  # nothing that counts, or too much to have been stored
        return [""]
    each = {canonical_query(raw, allowed) for allowed in declared if allowed is not None}
    return [f"?{one}" for one in {canonical, *each} if one is not None]
