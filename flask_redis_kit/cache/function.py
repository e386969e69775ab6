"""Calls of plain functions: their result from the cache, or computed and stored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from flask_redis_kit.cache import raised
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flight import Call, Decode, Hit, Turn
from flask_redis_kit.cache.flow import COMPUTE, Flow
from flask_redis_kit.cache.payload import RAISED
from flask_redis_kit.cache.reading import Look
from flask_redis_kit.cache.recipe import Recipe
from flask_redis_kit.cache.running import Running, tag
from flask_redis_kit.cache.serializer import decoder
from flask_redis_kit.cache.signals import report
from flask_redis_kit.cache.telling import Told
from flask_redis_kit.cache.terms import terms as terms_of
from flask_redis_kit.cache.ttl import Lifetime
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.session_watch import SessionWatch

log = logging.getLogger("flask_redis_kit.cache")
_NO_TIME = Lifetime(0)
_SESSION = (
    "%s: its result is not cached, as it reads the session and so may be one user's. Give it what "
    "it needs, such as the user's id, as an argument, or name that in vary=; if it is the same for "
    "everyone, say @cache_result(public=True)."
)
_RAISED = "%s: an exception that was kept can't be raised again, and counts as absent: %s"


def glance(engine: CacheEngine, recipe: Recipe, call: Call) -> Hit | Callable[[], Look]:
    """The hit, if there is a fresh value beyond doubt; else what ``result`` needs to go on.

    One round trip. The short way, as most calls are hits.
    """
    recipe.claim(engine)
    outcome = engine.context.send_many((engine.flights.reading(call),))[0]
    if outcome.error is None:
        hit = engine.flights.at_a_glance(call, outcome.result(), _decode(engine, recipe))
        if hit is not None:
            return hit
    return outcome.result


def result(
    engine: CacheEngine,
    recipe: Recipe,
    call: Call | None,
    ahead: Callable[[], Look] | None = None,
    *,
    told: Told | None = None,
    refresh: bool = False,
) -> Flow[Any]:
    """The result of a call. One round trip for a hit, three for a miss.

    ``ahead`` has the result of a READ sent before; ``told`` what ``vary=`` gave. ``refresh``: it is
    computed whatever there is. Of a call that is None nothing is stored: it can't be a key.
    """
    if call is None:
        report(engine, recipe.subject, "refused", "vary")
        return (yield COMPUTE)
    recipe.claim(engine)
    found = yield from engine.flights.obtain(
        call,
        _decode(engine, recipe),
        ahead,
        wait_seconds=recipe.options.wait,
        refresh=refresh,
    )
    if isinstance(found, Hit):
        return (yield from answer(engine, recipe, call, found, told))
    return (yield from _computed(engine, recipe, found, told))


def answer(
    engine: CacheEngine, recipe: Recipe, call: Call, hit: Hit, told: Told | None = None
) -> Flow[Any]:
    """The value of a hit; an exception is raised. What is being computed here gets its tags."""
    tag(engine, hit.tags, old=hit.old)
    if not hit.flags & RAISED:
        return hit.value
    try:
        error = raised.rebuilt(hit.value, recipe.options.exceptions)
    except CodecError as problem:
        engine.notices.once(("raised", recipe.about), _RAISED, recipe.about, problem)
        return (yield from result(engine, recipe, call, told=told, refresh=True))
    raise error


def _decode(engine: CacheEngine, recipe: Recipe) -> Decode:
    return decoder(recipe.options.codec or engine.context.codec)


class _Result(NamedTuple):
    """What a computation came to."""

    turn: Turn
    value: Any
    raised: bool
    """Whether ``value`` is an exception that was raised."""
    personal: bool
    """Whether the session was read, and the key doesn't tell users apart."""
    running: Running


def _computed(engine: CacheEngine, recipe: Recipe, turn: Turn, told: Told | None) -> Flow[Any]:
    flights = engine.flights
    watch = SessionWatch()
    with Running(engine, turn.call) as running:
        try:
            value = yield COMPUTE
        except BaseException as error:
            personal = _personal(engine, recipe, told, watch)
            if raised.is_kept(error, recipe.options.exceptions):
                kept = _Result(turn, error, True, personal, running)
                yield from _close(engine, recipe, kept)
                raise
            yield from flights.close(turn, None, _NO_TIME)
            stale = flights.rescue(turn) if isinstance(error, Exception) else None
            if stale is None:
                raise
            log.warning("%s has raised; its old result is served", recipe.about, exc_info=True)
            return (yield from answer(engine, recipe, turn.call, stale))
        personal = _personal(engine, recipe, told, watch)
        yield from _close(engine, recipe, _Result(turn, value, False, personal, running))
        return value


def _personal(engine: CacheEngine, recipe: Recipe, told: Told | None, watch: SessionWatch) -> bool:
    read = watch.keys()
    apart = recipe.is_told_apart(told, read) if watch.end() else True
    if apart is False:
        engine.notices.once(("session", recipe.about), _SESSION, recipe.about)
    return not apart


def _close(engine: CacheEngine, recipe: Recipe, result: _Result) -> Flow[None]:
    """Store a result if it may be; else only end the lease."""
    running = result.running
    terms = terms_of(engine, recipe, result.value, running, raised=result.raised)
    if result.personal:
        terms = "session"
    payload = None
    if result.turn.token is None:
        pass
    elif isinstance(terms, str):
        report(engine, recipe.subject, "refused", terms)
    else:
        flags, stored = (RAISED, raised.facts(result.value)) if result.raised else (0, result.value)
        payload = engine.packing.packed(
            stored, recipe.about, recipe.options.codec, flags, subject=recipe.subject
        )
    lifetime = _NO_TIME if isinstance(terms, str) else terms
    yield from engine.flights.close(
        result.turn, payload, lifetime, running.tags, refused=payload is None
    )
