"""The cached routes of an application, found by their endpoint: what to invalidate for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from flask import Flask, has_request_context, request
from werkzeug.routing import Rule

from flask_redis_kit.cache.address import Allowed
from flask_redis_kit.cache.pages import OUTSIDE, PAGES, Arguments, Pages, tag_of_request
from flask_redis_kit.cache.tags import member
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.placement import chains_of, misplaced
from flask_redis_kit.core.views import wrappers_of


def declared_queries(app: Flask) -> set[Allowed]:
    """The ``query=`` of all cached routes."""
    return {
        pages.options.query for endpoint in app.view_functions for pages in pages_of(app, endpoint)
    }


def pages_of(app: Flask, endpoint: str) -> list[Pages]:
    """The cached functions among an endpoint's views, for all its methods."""
    view = app.view_functions.get(endpoint)
    view_class = getattr(view, "view_class", None)
    methods = (view_class.methods if view_class is not None else None) or {"GET"}
    found: dict[int, Pages] = {}
    for method in sorted(methods):
        for wrapper in wrappers_of(app, endpoint, method):
            pages = getattr(wrapper, PAGES, None)
            if pages is not None:
                found[id(pages)] = pages  # functools.wraps copies it to the wrappers around it
    return list(found.values())


def misplaced_routes(app: Flask) -> list[tuple[str, str]]:
    """Endpoints whose views stand beneath a ``@cache_result`` that is never called; and of what."""
    found = ((endpoint, misplaced(OUTSIDE, app, chain)) for endpoint, chain in chains_of(app))
    return list(dict.fromkeys((endpoint, name) for endpoint, names in found for name in names))


def tags_of_endpoint(app: Flask, endpoint: object, arguments: Mapping[str, object]) -> list[bytes]:
    """What to invalidate for the requests at an endpoint with these arguments; or for all of them.

    All are invalidated, too, where the arguments don't tell which: if some are left out, and if a
    ``url_value_preprocessor`` may have changed them on the way. ``ConfigError`` for an endpoint
    that isn't there or isn't cached, and for arguments that its rules don't have.
    """
    name = _resolved(app, endpoint)
    cached = pages_of(app, name)
    if not cached:
        raise ConfigError(
            f"The endpoint {name!r} has no @cache_result that its requests would find. If it has "
            "one below another decorator, that decorator needs functools.wraps."
        )
    rules = list(app.url_map.iter_rules(name))
    _check_arguments(name, rules, arguments)
    given = arguments.keys()
    if not given or any(rule.arguments != given for rule in rules) or _changes_arguments(app, name):
        return [pages.recipe.function_tag for pages in cached]
    tags: dict[bytes, None] = {}
    for rule in rules:
        values = {each: _converted(rule, each, arguments[each]) for each in sorted(given)}
        tags[tag_of_request(name, values)] = None
        for pages in cached:
            for call in _calls(pages, values):
                tags[call] = None
    return list(tags)


def _resolved(app: Flask, endpoint: object) -> str:
    """The endpoint's full name; one that starts with a dot is of the current blueprint."""
    if not isinstance(endpoint, str):
        raise TypeError(f"An endpoint must be a string, not {endpoint!r}.")
    name = endpoint
    if name.startswith("."):
        blueprint = request.blueprint if has_request_context() else None
        name = name[1:] if blueprint is None else f"{blueprint}{name}"
    if name not in app.view_functions:
        near = difflib.get_close_matches(name, app.view_functions, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"The application {app.name!r} has no endpoint {name!r}.{hint}")
    return name


def _check_arguments(endpoint: str, rules: list[Rule], arguments: Mapping[str, object]) -> None:
    known = {name for rule in rules for name in rule.arguments}
    for name in arguments:
        if name not in known:
            raise ConfigError(
                f"No URL of the endpoint {endpoint!r} has an argument {name!r}: it has "
                f"{', '.join(sorted(known)) or 'none'}."
            )


def _changes_arguments(app: Flask, endpoint: str) -> bool:
    parts = endpoint.split(".")[:-1]
    scopes = [None, *(".".join(parts[: n + 1]) for n in range(len(parts)))]
    return any(app.url_value_preprocessors.get(scope) for scope in scopes)


def _converted(rule: Rule, name: str, value: object) -> Any:
    """An argument as a request has it: ``"7"`` is 7 where the rule says ``<int:…>``."""
    converter = rule._converters.get(name)
    if converter is None:
        return value  # one of the rule's defaults
    try:
        return converter.to_python(unquote(converter.to_url(value)))
    except (TypeError, ValueError):  # no URL says this, so nothing hangs on it
        return value


def _calls(pages: Pages, values: Mapping[str, Any]) -> Iterator[bytes]:
    for instance in ((), (None,)):
        same = pages.same_call(Arguments(instance, (), values))
        if same is not None:
            yield member("c", same.text)
