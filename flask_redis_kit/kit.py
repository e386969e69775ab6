"""``RedisKit``: the features, picked by name, and their state per application."""

from __future__ import annotations

import difflib
import logging
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import redis
from flask import Blueprint, Flask, Response, jsonify, request

from flask_redis_kit import plugins
from flask_redis_kit.cache import CacheFeature
from flask_redis_kit.cli import install_commands
from flask_redis_kit.core import config, health, signals
from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.counters import KEYSPACE as COUNTED
from flask_redis_kit.core.counters import FeatureCounters
from flask_redis_kit.core.errors import ConfigError, NotInitialized
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context, Feature, state_in
from flask_redis_kit.core.first_request import warn_of_late_settings
from flask_redis_kit.core.keys import KeySpec, checked_namespace
from flask_redis_kit.core.names import (
    DEFAULT_NAME,
    DEFAULT_PREFIX,
    checked_kit_name,
    checked_prefix,
    in_words_of,
)
from flask_redis_kit.core.request import batch_of, last_batch
from flask_redis_kit.core.session_watch import restore_access
from flask_redis_kit.core.state import KitState, refuse_clash
from flask_redis_kit.core.views import current_application, current_request
from flask_redis_kit.events import EventsFeature
from flask_redis_kit.queue import QueueFeature
from flask_redis_kit.ratelimit import RateLimitFeature
from flask_redis_kit.sessions import SessionsFeature
from flask_redis_kit.transaction import KitTransaction, begin

log = logging.getLogger(__name__)
F = TypeVar("F", bound=Feature[Any, Any])

BUILTIN: Mapping[str, type[Feature[Any, Any]]] = {
    "cache": CacheFeature,
    "ratelimit": RateLimitFeature,
    "sessions": SessionsFeature,
    "events": EventsFeature,
    "queue": QueueFeature,
}


class RedisKit:
    """One Redis for a Flask application: a connection, and the features that share it.

    ``features``  which to have, by name: the five by default. Installed distributions may offer
                  more, by entry points of the group ``flask_redis_kit.features``.
    ``name``      to have several kits on one application: each has its own commands
                  (``flask redis-<name>``), namespace and request batch. The decorators that are
                  imported, not a kit's own, belong to the kit named "default".
    ``config_prefix``  the start of its config keys.
    ``defaults``  values for plain ``REDIS_…`` settings that the application does not set,
                  e.g. ``url="redis://cache/0"``.

    Making one, and ``init_app``, connects to nothing and starts no thread.
    """

    cache: CacheFeature
    ratelimit: RateLimitFeature
    sessions: SessionsFeature
    events: EventsFeature
    queue: QueueFeature

    def __init__(
        self,
        app: Flask | None = None,
        *,
        features: Iterable[str] = tuple(BUILTIN),
        config_prefix: str = DEFAULT_PREFIX,
        name: str = DEFAULT_NAME,
        **defaults: object,
    ) -> None:
        self.name = checked_kit_name(name)
        self.config_prefix = checked_prefix(config_prefix)
        self.codec = Codec()
        self._defaults = _checked_arguments(defaults)
        self._features: dict[str, Feature[Any, Any]] = {}
        self._states: weakref.WeakSet[KitState] = weakref.WeakSet()
        self._latest: weakref.ref[KitState] | None = None
        for feature in plugins.several(features):
            cls = BUILTIN.get(feature)
            self.register(plugins.make(feature, tuple(BUILTIN)) if cls is None else cls())
        if app is not None:
            self.init_app(app)

    def register(self, feature: F) -> F:
        """Add a feature, built-in or your own, before ``init_app``. Returns it."""
        if feature.name in self._features:
            raise ConfigError(f"This kit has a feature named {feature.name!r} already.")
        if feature.name not in BUILTIN:
            builtin = {cls().section for cls in BUILTIN.values()}
            plugins.check(feature, reserved=dir(type(self)), sections=builtin | self._sections())
        feature.bind(self.state)
        self._features[feature.name] = feature
        return feature

    def _sections(self) -> set[str]:
        return {feature.section for feature in self._features.values()}

    def __getattr__(self, name: str) -> Any:
        feature = self.__dict__.get("_features", {}).get(name)
        if feature is not None:
            return feature
        if name in BUILTIN:
            raise AttributeError(
                f"This kit was made without the feature {name!r}: "
                f"RedisKit(features=(..., {name!r}))."
            )
        near = difflib.get_close_matches(name, [*BUILTIN, *dir(type(self))], n=1, cutoff=0.7)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"RedisKit has no attribute or feature {name!r}.{hint}")

    def init_app(self, app: Flask, **arguments: object) -> None:
        """Read the settings, prepare the features, add ``flask redis``. No I/O.

        Raises ``ConfigError`` for a setting that can't be right, ``RuntimeError`` if the
        application has a kit of this name.
        """
        kits = app.extensions.setdefault("redis_kit", {})
        if self.name in kits:
            cure = (
                "RedisKit(app) has called init_app already: leave one of them out."
                if kits[self.name] in self._states
                else "Give the second one a name: RedisKit(app, name='...')."
            )
            raise RuntimeError(
                f"Application {app.name!r} has a RedisKit named {self.name!r} already. {cure}"
            )
        given = {**self._defaults, **_checked_arguments(arguments)}
        try:
            state = self._prepared(app, given)
            for other in kits.values():
                refuse_clash(state, other)
        except ConfigError as error:
            raise in_words_of(self.config_prefix, error) from error.__cause__
        self._install(app)
        if {"queue", "events"} <= set(self._features):
            self._tell_users_of_their_jobs(state)
        kits[self.name] = state
        self._states.add(state)
        self._latest = weakref.ref(state)

    def _prepared(self, app: Flask, arguments: Mapping[str, object]) -> KitState:
        prefix = self.config_prefix
        core, settings = config.load(config.CoreConfig, app, prefix=prefix, arguments=arguments)
        if core.namespace is not None:
            checked_namespace(core.namespace)
        state = KitState(app, self.name, core, prefix)
        state.settings = settings
        state.wire()
        known = config.known_keys(config.CoreConfig, prefix, None)
        for feature in self._features.values():
            known |= self._add(state, feature)
        sections = self._sections()
        sections |= {cls().section for cls in BUILTIN.values()}
        config.warn_near_misses(app, prefix, known, sections)
        warn_of_late_settings(app, known)
        return state

    def _add(self, state: KitState, feature: Feature[Any, Any]) -> set[str]:
        section = feature.section
        known = config.known_keys(feature.config_class, state.prefix, section)
        config.refuse_unknown(state.app, state.prefix, section, known)
        loaded, settings = config.load(
            feature.config_class, state.app, prefix=state.prefix, section=section
        )
        state.settings += settings
        state.features[feature.name] = feature
        key = f"{state.prefix}_{section}_URL"
        try:
            wire = state.wire(loaded.url, None if loaded.url is None else key)
        except ConfigError as error:
            if loaded.url is None:
                raise
            raise ConfigError(f"{key}: {error}", key=error.key or key) from None
        state.contexts[feature.name] = Context(
            app=state.app,
            kit_name=self.name,
            config=loaded,
            wire=wire,
            keys=state.keys,
            codec=self.codec,
            counters=FeatureCounters(state.counters(wire), feature.name),
        )
        return known

    def _install(self, app: Flask) -> None:
        def finish(response: Response) -> Response:
            of = current_request()
            assert of is not None  # noqa: S101  # a response is made in a request
            restore_access(of)
            batch = batch_of(of, self.name, app)
            if batch is not None:
                batch.response = response
                # this kit's session, if there is one, is saved later and takes the rest along
                ends = getattr(app.session_interface, "finishes_batch_of", None)
                if ends is None or not ends(self.name):
                    batch.finish()
            return response

        def teardown(error: BaseException | None) -> None:
            # no response was made here; and a copied context ends while its request goes on
            of = current_request()
            batch = None if of is None else batch_of(of, self.name, app)
            if batch is not None:
                if error is not None:
                    batch.failed()
                batch.flush()

        app.after_request(finish)
        app.teardown_request(teardown)
        for feature in self._features.values():
            feature.install(app)
        install_commands(app, self.name, list(self._features.values()))

    def _tell_users_of_their_jobs(self, state: KitState) -> None:
        """What a job reports becomes a ``job`` event for the user it was enqueued for."""

        def tell(engine: object, *, user: int | str | None, **facts: Any) -> None:
            if user is None or engine is not state.built("queue"):
                return
            data = {"id": facts["job_id"], **{k: facts[k] for k in ("state", "progress", "note")}}
            try:
                with state.app.app_context():
                    self.events.publish_to_user(user, "job", data)
            except FAILURES as error:
                log.warning("The user of job %s was not told: %s", facts["job_id"], error)

        state.receivers.append(tell)  # the signal holds it weakly: it goes with the application
        signals.job_progress.connect(tell)

    def state(self) -> KitState:
        """The state in the current application; outside of any, in the only one that is open."""
        app = current_application()
        if app is None:
            return self._only_state()
        found: Any = state_in(app, self.name)
        state: KitState = found  # the kit puts nothing else there
        return state

    def _only_state(self) -> KitState:
        latest = None if self._latest is None else self._latest()
        if latest is not None and len(self._states) == 1:
            return latest
        every = list(self._states)
        states = [state for state in every if not state.closed] or every
        if len(states) == 1:
            return states[0]
        if not states:
            raise NotInitialized(
                "This RedisKit has no application. Call kit.init_app(app), and keep the app."
            )
        raise NotInitialized(
            f"This RedisKit serves {len(states)} applications and none of them is current. Call "
            "this in a request, or inside `with app.app_context():`."
        )

    def connector(self, url: str | None = None) -> Connector:
        """The connector of the current application's server, or of the one at ``url``."""
        return self.state().connectors.get(url)

    @property
    def client(self) -> redis.Redis:
        """The current application's redis-py client, on the pool that the features share."""
        return self.connector().client

    def connection(self, name: str) -> redis.Redis:
        """The redis-py client of a connection that ``REDIS_DATABASES`` names.

        ``"default"`` is ``kit.client``. Raises ``ConfigError`` listing the known names.
        """
        try:
            return self.state().databases.connector(name).client
        except ConfigError as error:
            raise in_words_of(self.config_prefix, error) from None

    @property
    def replica(self) -> redis.Redis:
        """A client that reads from replicas under Sentinel; elsewhere from the server itself.

        What a replica says may be old: use it where that is right, e.g. for statistics.
        """
        return self.connector().replica

    @property
    def blocking(self) -> redis.Redis:
        """A client without a reply timeout, for commands that block on purpose (BLPOP)."""
        return self.connector().blocking

    @property
    def trips(self) -> int:
        """Round trips of the current request so far; 0 outside of one."""
        return self.trips_of(request.environ) if request else 0

    def trips_of(self, environ: dict[str, Any]) -> int:
        """Round trips of the request with this WSGI environ: for a middleware that counts."""
        batches = (last_batch(environ, self.name, state.app) for state in list(self._states))
        return sum(batch.trips for batch in batches if batch is not None)

    def transaction(self) -> KitTransaction:
        """Several operations, of your own and of the features, that happen together or not at all.

        ::

            with kit.transaction() as tx:
                tx.cache.invalidate_tags("product:7")
                sold = tx.execute("DECR", "stock:7")
                tx.queue.enqueue("send_receipt", {"order": 7})
            print(sold.value)

        One round trip (MULTI … EXEC) when the block ends; nothing is sent if it raises. Raises
        ``TransactionRefused`` or another ``ServerError`` when nothing was applied,
        ``TransactionPartial`` when a command failed as it ran, ``TransactionUncertain`` when the
        reply was lost, ``CrossSlotError`` for keys of several slots of a Cluster.
        """
        return begin(self.state, self._features)

    def health(self) -> list[health.Health]:
        """Each server the application uses, on Cluster each primary: two round trips each.

        Under Sentinel one more for each Sentinel. Last come the named connections
        (``REDIS_DATABASES``). Never raises for a server.
        """
        return health.check_all(self.state().servers())

    def health_blueprint(self, url_prefix: str | None = None) -> Blueprint:
        """A blueprint with ``GET /health``: 200 or 503, and the figures as JSON."""
        name = "redis_kit_health" + ("" if self.name == DEFAULT_NAME else f"_{self.name}")
        blueprint = Blueprint(name, __name__, url_prefix=url_prefix)

        @blueprint.get("/health")
        def redis_kit_health() -> tuple[Response, int]:
            servers = self.health()
            ok = all(server.ok for server in servers)
            body = {"ok": ok, "servers": [server.as_dict() for server in servers]}
            response = jsonify(body)
            response.headers["Cache-Control"] = "no-store"
            return response, 200 if ok else 503

        return blueprint

    def close(self) -> None:
        """End what the current application opened: engines, connections, the embedded server.

        Outside of an application another one, if it is the only one left, is meant from now on.
        """
        state = self.state()
        for name, feature in self._features.items():
            engine = state.built(name)
            if engine is not None:
                feature.close(engine)
        state.report_counts()
        state.connectors.close()
        state.closed = True

    def __repr__(self) -> str:
        return f"RedisKit(name={self.name!r}, features={tuple(self._features)!r})"


def _checked_arguments(arguments: Mapping[str, object]) -> dict[str, object]:
    known = set(config.CoreConfig.__dataclass_fields__)
    for name in arguments:
        if name not in known:
            raise ConfigError(
                f"{name}= is no argument of RedisKit. Known: {', '.join(sorted(known))}.", key=name
            )
    return dict(arguments)


def builtin_keyspace() -> tuple[KeySpec, ...]:
    """Every kind of key that the kit and its five features write."""
    return (*COUNTED, *(spec for cls in BUILTIN.values() for spec in cls.keyspace))
