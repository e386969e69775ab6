"""The pages of one decorated view: what tells them apart, and what they hang on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flask import Request

from flask_redis_kit.cache import address
from flask_redis_kit.cache.body import canonical_body, has_body
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flight import Call
from flask_redis_kit.cache.identity import Digest, Namer, material
from flask_redis_kit.cache.identity import plain as are_plain
from flask_redis_kit.cache.options import SAFE_METHODS
from flask_redis_kit.cache.query import canonical_query
from flask_redis_kit.cache.recipe import Recipe
from flask_redis_kit.cache.signals import report
from flask_redis_kit.cache.storability import BODY, QUERY, VARY, Refusal
from flask_redis_kit.cache.tags import member

PAGES = "__redis_kit_pages__"
"""Where a decorated function has its ``Pages``."""
OUTSIDE = "__redis_kit_cached_by__"
"""Where the function itself has its decorated forms."""
_MOST_KNOWN = 512
_LONGEST_KNOWN = 1024
_EXACT = frozenset({str, int, bool, bytes, type(None)})
"""Whose equal values of one type are one value: of floats 0.0 equals -0.0."""
_arguments = Namer("arguments")


class Arguments(NamedTuple):
    """What a view was called with. ``instance`` is the ``self`` of a class's method, or nothing."""

    instance: tuple[Any, ...]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def tag_of_request(endpoint: str, arguments: Mapping[str, Any]) -> bytes:
    """The tag of the requests at an endpoint with these arguments of its URL."""
    return member("a", _arguments.digest({"endpoint": endpoint, **arguments}, endpoint).text)


Spelled = tuple[object, ...]
Facts = tuple[object, ...]


def facts_of(request: Request, arguments: Mapping[str, Any]) -> Facts:
    """All that the page of a plan is made of: if it is the same, so is the page."""
    return (
        request.method,
        request.scheme,
        request.root_path,
        request.path,
        request.query_string,
        request.url_rule,
        dict(request.view_args or {}),
        dict(arguments),
        request.environ.copy(),
    )


class Pages:
    """How the responses of one decorated view are keyed and tagged. No state of an application."""

    def __init__(self, recipe: Recipe) -> None:
        options = recipe.options
        self.recipe = recipe
        self.options = options
        self.variants = recipe.variants
        self.plannable = not (self.variants.factors or options.key or options.body_key)
        """Whether a page can be known ahead of the view's place: no function of the user's runs."""
        self._ignored = recipe.binding.ignored
        repeats = options.key is None and are_plain(recipe.defaults.values())
        self._known: dict[Spelled, Call] | None = {} if repeats else None
        """The latest pages by how requests have spelled them; None if they depend on more."""

    def page(
        self, request: Request, given: Arguments, results: Sequence[object] = ()
    ) -> Call | Refusal:
        """The page that a request asks for. ``TypeError`` for arguments without identity.

        ``results`` of the functions in ``vary=``.
        """
        known = self._known
        spelled = None if known is None else self._spelled(request, given, results)
        if known is None or spelled is None:
            return self._made(request, given, results)
        call = known.get(spelled)
        if call is not None:
            return call
        made = self._made(request, given, results)
        if isinstance(made, Call):
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[spelled] = made
        return made

    def _spelled(
        self, request: Request, given: Arguments, results: Sequence[object]
    ) -> Spelled | None:
        """All that this request's page is made of, unread; None if that is something else, too."""
        arguments, environ = given.kwargs, request.environ
        if given.args or arguments != request.view_args or has_body(environ):
            return None
        if request.method not in SAFE_METHODS or (self._ignored and not self._is_whole(given)):
            return None
        path, query = request.path, request.query_string
        host = request.host
        size = len(host) + len(path) + len(query)
        told: Spelled = (request.scheme, host, request.root_path, path, query)
        told += (request.endpoint,)
        if self.variants.names:
            headers = self.variants.spelled(environ)
            size += sum([len(each or "") for each in headers])
            told += tuple(headers)
        size += sum([len(each) for each in results if isinstance(each, str | bytes)])
        if size > _LONGEST_KNOWN:
            return None
        if not (arguments or results):
            return told
        values = (*arguments.values(), *results)
        types = tuple(map(type, values))
        return (*told, *arguments, types, values) if _EXACT.issuperset(types) else None

    def _made(
        self, request: Request, given: Arguments, results: Sequence[object]
    ) -> Call | Refusal:
        options = self.options
        query = canonical_query(request.query_string, options.query)
        if query is None:
            return QUERY
        key: dict[str, Any] = {
            "scheme": request.scheme,
            "host": request.host,
            "root": request.root_path,
            "endpoint": request.endpoint,
            "query": query,
        }
        told_by_body = has_body(request.environ)
        if told_by_body and not options.body_key:
            return BODY
        if told_by_body or request.method not in SAFE_METHODS:
            body = canonical_body(request)
            if body is None:
                return BODY
            key |= {"method": request.method, "type": body[0], "body": body[1]}
        if not self.variants.add_to(key, request.environ, results):
            return VARY
        whole = self._is_whole(given)
        by_path = whole or self._is_incomplete(request, given)
        self._add_arguments(key, request, given, by_path=by_path)
        told = material(key, self.recipe.about)
        return self._call(told, request, given, query if by_path else None)

    def _is_whole(self, given: Arguments) -> bool:
        """Whether all arguments are in the key. (A method's object is made for the request.)"""
        if self.options.key is not None:
            return False
        ignored = self._ignored
        return not ignored or (bool(given.instance) and ignored == {self.recipe.binding.receiver})

    def _is_incomplete(self, request: Request, given: Arguments) -> bool:
        """Whether an argument of the URL was taken out on the way, so that only the path has it."""
        rule = request.url_rule
        return rule is not None and not rule.arguments <= given.kwargs.keys()

    def _add_arguments(
        self, key: dict[str, Any], request: Request, given: Arguments, *, by_path: bool
    ) -> None:
        options = self.options
        if by_path:
            key["path"] = request.path  # which may say more than the arguments
        elif request.url_rule is not None:
            key["rule"] = request.url_rule.rule
        if options.key is not None:
            key["key"] = options.key(*given.instance, *given.args, **given.kwargs)
            return
        for name in sorted(given.kwargs):
            if name not in self._ignored:
                key[f"argument:{name}"] = given.kwargs[name]
        for n, value in enumerate(given.args):
            key[f"position:{n}"] = value

    def _call(self, told: bytes, request: Request, given: Arguments, query: str | None) -> Call:
        recipe = self.recipe
        if query is None:
            tags: tuple[bytes, ...] = (address.ANY,)
        else:
            tags = address.tags_of_page(request.root_path, request.path, query, self.options.query)
        same = self.same_call(given)
        if same is not None:
            tags += (member("c", same.text),)
        if same is None or given.args or given.kwargs != request.view_args:
            tags += (tag_of_request(request.endpoint or "", request.view_args or {}),)
        digest = recipe.routes.digest_of(told)
        if given.args:
            call = recipe.tagged(digest, recipe.bound((*given.instance, *given.args), given.kwargs))
        else:
            call = recipe.tagged(digest, {**recipe.defaults, **given.kwargs})
        return call._replace(tags=(*call.tags, *tags))

    def same_call(self, given: Arguments) -> Digest | None:
        """The digest of the function's call with these arguments, whoever's method it is.

        None if one of them has no identity, or some are missing.
        """
        recipe = self.recipe
        instance = (None,) if given.instance else ()
        try:
            return recipe.base((*instance, *given.args), given.kwargs)
        except TypeError:
            return None

    def refused(self, engine: CacheEngine, request: Request, why: Refusal) -> None:
        """Count a response that was not stored, and warn of it once per endpoint."""
        report(engine, self.recipe.subject, "refused", why.reason)
        if why.warning is not None:
            about = ("route", request.endpoint, why.reason)
            message = "The route %r is not cached: %s"
            engine.notices.once(about, message, request.endpoint, why.warning)
