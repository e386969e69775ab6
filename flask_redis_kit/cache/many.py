"""Many calls of one function at once: all looked up in one trip, the missing ones computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from flask_redis_kit.cache import function
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flight import Call
from flask_redis_kit.cache.flow import Flow
from flask_redis_kit.cache.reading import Look
from flask_redis_kit.cache.recipe import Recipe
from flask_redis_kit.cache.telling import Told
from flask_redis_kit.core.exchange import Outcome


class Asked(NamedTuple):
    """One of many calls: its arguments, what it is in the cache, and what was found there.

    ``told`` is what ``vary=`` gave, for all of them.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    call: Call | None
    ahead: Callable[[], Look] | None
    told: Told | None


def asked(
    engine: CacheEngine, recipe: Recipe, calls: Iterable[object], *first: object
) -> list[Asked]:
    """Look all calls up in one trip (on Cluster one a node). ``first`` are arguments of each.

    ``TypeError`` names an argument without identity. A failing server is an error in ``ahead``.
    """
    given = [arguments_of(item) for item in calls]
    told = recipe.told()
    keyed = [(args, kwargs, recipe.call((*first, *args), kwargs, told)) for args, kwargs in given]
    wanted = {call.digest.text: call for _, _, call in keyed if call is not None}
    found = engine.context.send_many([engine.flights.reading(call) for call in wanted.values()])
    looks: dict[str, Outcome[Look]] = dict(zip(wanted, found, strict=True))
    return [
        Asked(
            (*first, *args),
            kwargs,
            call,
            None if call is None else looks[call.digest.text].result,
            told,
        )
        for args, kwargs, call in keyed
    ]


def arguments_of(item: object) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The arguments that an item stands for: a tuple, keywords in a dict, or one argument."""
    if isinstance(item, tuple):
        return item, {}
    if isinstance(item, dict):
        return (), item
    return (item,), {}


def flow_of(engine: CacheEngine, recipe: Recipe, one: Asked) -> Flow[Any]:
    """What one of the calls does."""
    return function.result(engine, recipe, one.call, one.ahead, told=one.told)
