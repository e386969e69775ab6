"""The cache on its Flask side: ``kit.cache``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, ParamSpec, TypeVar, Unpack

import click
from flask import Flask

from flask_redis_kit.cache import conclusion, fragment, rules
from flask_redis_kit.cache.address import tags_of_url
from flask_redis_kit.cache.by_hand import ByHand
from flask_redis_kit.cache.cached import Cached
from flask_redis_kit.cache.commands import cache_commands
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.decorator import decorator
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.invalidation import checked_prefix
from flask_redis_kit.cache.options import Declared, checked_options
from flask_redis_kit.cache.running import tag
from flask_redis_kit.cache.shards import KEYSPACE
from flask_redis_kit.cache.tags import TagsOf, member, several_tags
from flask_redis_kit.cache.transaction import CacheTransaction
from flask_redis_kit.cache.ttl import Ttl, TtlOf
from flask_redis_kit.core.feature import Context
from flask_redis_kit.core.first_request import at_first_request
from flask_redis_kit.core.keys import KeySpec
from flask_redis_kit.core.transaction import Transaction

if TYPE_CHECKING:
    from flask_redis_kit.cache.sqlalchemy import AnySession, Commits, SessionSource, TagsOfObject

log = logging.getLogger("flask_redis_kit.cache")
_LOOKED_AT = "redis_kit_cache_routes"
_MISPLACED = (
    "The route %r is not cached: @cache_result stands above the decorator that registers %r, so it "
    "is never called. Put it below @app.get(...) or @app.route(...), next to the function."
)

P = ParamSpec("P")
R = TypeVar("R")


class CacheFeature(ByHand):
    """``kit.cache``."""

    name: ClassVar[str] = "cache"
    config_class: ClassVar[type[CacheConfig]] = CacheConfig
    keyspace: ClassVar[tuple[KeySpec, ...]] = KEYSPACE

    def install(self, app: Flask) -> None:
        """Give templates ``{% cache %}``; before the first request, look at the routes. No I/O."""
        fragment.install(app, self)
        if _LOOKED_AT in app.extensions:
            return  # another kit's cache does it

        def look() -> None:
            for endpoint, name in rules.misplaced_routes(app):
                log.warning(_MISPLACED, endpoint, name)

        app.extensions[_LOOKED_AT] = True
        at_first_request(app, look)

    def engine_of(self, app: Flask) -> CacheEngine:
        """The engine in this application, be it the current one or not."""
        for state in app.extensions["redis_kit"].values():
            if state.features.get(self.name) is self:
                engine: CacheEngine = state.engine(self)
                return engine
        return self.engine()

    def build(self, context: Context[CacheConfig]) -> CacheEngine:
        """Make the engine of one application. No I/O."""
        conclusion.watch(context.app)
        return CacheEngine(context)

    def transactional(self, tx: Transaction) -> CacheTransaction:
        """``tx.cache``."""
        return CacheTransaction(self.engine(), tx)

    def commands(self) -> Sequence[click.Command]:
        """``flask redis cache``."""
        return cache_commands(self)

    def cache_result(
        self,
        key_prefix: str | None = None,
        ttl: Ttl | TtlOf | None = None,
        tags: Sequence[str | TagsOf] | TagsOf = (),
        **options: Unpack[Declared],
    ) -> Callable[[Callable[P, R]], Cached[P, R]]:
        """``cache_result`` for this kit: needs no application context at the call."""
        return decorator(self.engine, checked_options(key_prefix, ttl, tags, options))

    def tag(self, *tags: str) -> None:
        """Add tags to the values that are being computed here; nothing if there are none. No trip.

        For what is known only while computing, such as the ids of the rows that were found. They
        reach the cached function that this is called in, and all those that it was called by.
        """
        tag(self.engine(), [member("t", name) for name in several_tags(tags, "tag")])

    def invalidate_tags(self, *tags: str, soft: bool = False) -> int:
        """Invalidate all values with any of these tags; returns how many different tags.

        What begins to read afterwards never sees an older value. ``soft``: the values are stale
        instead, and in their grace period served while one caller computes the next. One round
        trip whatever the number of values, atomic. Raises ``InvalidationError`` if the server can't
        be reached: repeat it then.
        """
        return self.engine().invalidation.tags(several_tags(tags), soft=soft)

    def invalidate_prefix(self, key_prefix: str, *, soft: bool = False) -> None:
        """Invalidate all values of the functions and routes with this ``key_prefix``.

        As ``invalidate_tags``. Values by hand have no prefix: give them a tag.
        """
        self.engine().invalidation.prefix(key_prefix, soft=soft)

    def invalidate_url(self, url: str, *, soft: bool = False) -> None:
        """Invalidate the responses of routes at a URL: with a query, those to it; else to any.

        ``url`` is a path, or a whole URL whose host doesn't matter: every host, ``vary=`` variant
        and method is meant, and the path with or without the place the application is mounted at.
        As ``invalidate_tags``; a response that is being computed isn't served either.
        """
        engine = self.engine()
        tags = tags_of_url(url, rules.declared_queries(engine.context.app))
        engine.invalidation.members(tags, url, soft=soft)

    def invalidate_endpoint(
        self, endpoint: str, /, *, soft: bool = False, **arguments: object
    ) -> None:
        """Invalidate the responses of an endpoint's routes to these arguments; or all of them.

        ``invalidate_endpoint("product", product_id=7)``: whatever the query, host and variant. All
        of the endpoint's are invalidated if arguments of its URLs are left out, or if a
        ``url_value_preprocessor`` may change them. As ``invalidate_tags``. ``ConfigError`` if there
        is no such endpoint, or none with these arguments, or it isn't cached.
        """
        engine = self.engine()
        tags = rules.tags_of_endpoint(engine.context.app, endpoint, arguments)
        engine.invalidation.members(tags, endpoint, soft=soft)

    def invalidate_after_commit(self, session: AnySession, *tags: str) -> None:
        """Invalidate tags when what a SQLAlchemy session is doing is committed; not if it isn't.

        ``session`` may be a ``scoped_session`` (``db.session``) or an ``AsyncSession``. Within a
        savepoint they go with it. Tags are invalidated in two trips, before the commit and after
        it: ``commit()`` raises ``InvalidationError``, and has committed nothing, if the server
        can't be reached. If it fails just between the two, that is logged as an error and made up
        for with the next ``invalidate_tags`` of the process.
        """
        self._commits.add(session, several_tags(tags, "invalidate_after_commit"))

    def bind_sqlalchemy(self, sessions: SessionSource, tags_of: TagsOfObject) -> None:
        """Invalidate the tags of every object that SQLAlchemy sessions add, change or delete.

        ``sessions``  a ``sessionmaker``, ``scoped_session`` (``db.session``), session or class.
        ``tags_of``   makes tags of an object: ``lambda obj: f"product:{obj.id}"``; None: of no
                      interest. Called for objects as they are and as they were, so that a product
                      that moves invalidates both categories; it should look at columns, as objects
                      behind relationships are as they are now.

        When and how as ``invalidate_after_commit`` does. Changes that pass objects by
        (``update()``, ``delete()``, SQL) are not seen: name their tags to
        ``invalidate_after_commit``.
        """
        self._commits.bind(sessions, tags_of)

    @property
    def _commits(self) -> Commits:
        """One object, as its methods are listeners that a session must know again."""
        from flask_redis_kit.cache.sqlalchemy import Commits  # noqa: PLC0415  # not all have it

        commits: Commits = self.__dict__.setdefault("commits", Commits(self.engine))
        return commits

    def invalidate_fragment(self, name: str, *vary: object, soft: bool = False) -> None:
        """Invalidate the template fragments with this name; or those that vary by these values.

        As ``invalidate_tags``.
        """
        tag = fragment.tag_of(checked_prefix(name), vary or None)
        self.engine().invalidation.members([tag], name, soft=soft)

    def clear(self) -> None:
        """Make everything in the application's namespace a miss. One round trip.

        Raises ``InvalidationError`` if the server can't be reached.
        """
        self.engine().invalidation.clear()
