"""The terms on which a result is stored: what the functions in its decorator say of it."""

from __future__ import annotations

from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.packing import TOO_MANY_TAGS
from flask_redis_kit.cache.recipe import Recipe
from flask_redis_kit.cache.running import Running
from flask_redis_kit.cache.signals import Reason
from flask_redis_kit.cache.tags import MAX_TAGS
from flask_redis_kit.cache.ttl import Lifetime

_FAILED = "%s: a result is not cached, because of its @cache_result(…): %r. Said once."


def terms(
    engine: CacheEngine,
    recipe: Recipe,
    result: object,
    running: Running,
    *,
    raised: bool = False,
) -> Lifetime | Reason:
    """How long a result lives; or why it is not stored. Its own tags are added to ``running``.

    ``raised``: it is an exception to be kept, of which only ``ttl`` is asked. What a function of
    the user's raises is logged once: the result is returned all the same.
    """
    try:
        if not raised:
            running.add(recipe.tags.of_result(result))
            when = recipe.options.when
            if when is not None and not when(result):
                return "when"
        lifetime = recipe.lifetime(engine, result)
    except Exception as error:  # noqa: BLE001  # the user's functions
        engine.notices.once(("terms", recipe.about), _FAILED, recipe.about, error)
        return "error"
    if lifetime is None:
        return "ttl"
    count = len(running.tags)
    if count > MAX_TAGS:
        engine.notices.once(("tags", recipe.about), TOO_MANY_TAGS, recipe.about, count)
        return "tags"
    return running.lifetime(lifetime) or "stale"
