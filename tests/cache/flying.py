"""A value of the engine's, called as the decorator calls it: found, or computed and stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import redis

from flask_redis_kit import RedisKit
from flask_redis_kit.cache import log
from flask_redis_kit.cache.flight import Call, Hit
from flask_redis_kit.cache.flow import COMPUTE, Flow, run, run_async
from flask_redis_kit.cache.identity import Namer
from flask_redis_kit.cache.payload import packed
from flask_redis_kit.cache.tags import member
from flask_redis_kit.cache.ttl import Lifetime
from flask_redis_kit.core.exchange import Exchange, first

LIFETIME = Lifetime(60_000, 60_000)
PATIENT = {f"REDIS_{name}_TIMEOUT": 30.0 for name in ("SOCKET", "SOCKET_CONNECT", "POOL")}
"""For tests with many threads on a busy machine: who can't reach the server in time computes."""


class Value:
    """One value in one application's cache; ``calls`` are its computations so far."""

    def __init__(
        self,
        kit: RedisKit,
        name: str = "value",
        *,
        tags: tuple[str, ...] = ("t",),
        lifetime: Lifetime = LIFETIME,
    ) -> None:
        self.kit = kit
        self.engine: Any = kit.cache.engine()
        digest = Namer("test").digest({"name": name})
        members = tuple(member("t", tag) for tag in tags)
        self.call = Call(digest, (*members, member("k", digest.text)), "test")
        self.place = self.engine.shards.place(digest)
        self.lifetime = lifetime
        self.calls: list[object] = []

    def get(self, compute: Callable[[], Any], **options: Any) -> Any:
        """The value, by whatever way."""
        return self.hit(compute, **options).value

    def hit(self, compute: Callable[[], Any], **options: Any) -> Hit:
        """The value with its times; a computed one has none."""
        return run(self._flow(options), self.engine.context.send, self._counted(compute))

    async def get_async(self, compute: Callable[[], Awaitable[Any]], **options: Any) -> Any:
        """The value, in a task."""
        flow = self._flow(options)
        return (await run_async(flow, self.engine.context.send, self._counted(compute))).value

    def seen(self) -> Hit | None:
        """What a mere look finds."""
        looking = self.engine.flights.look(self.call, self.engine.context.codec.decode)
        found = run(looking, self.engine.context.send, lambda: None)
        return found if isinstance(found, Hit) else None

    def left(self, client: redis.Redis, ms: int) -> None:
        """Let time pass, until so many ms of the value's time are left."""
        assert client.pexpire(self.place.value, ms)

    def _counted(self, compute: Callable[[], Any]) -> Callable[[], Any]:
        def counted() -> Any:
            self.calls.append(1)
            return compute()

        return counted

    def _flow(self, options: dict[str, Any]) -> Flow[Hit]:
        extra_tags = options.pop("extra_tags", ())
        flights, codec = self.engine.flights, self.engine.context.codec
        turn = yield from flights.obtain(self.call, codec.decode, **options)
        if isinstance(turn, Hit):
            return turn
        try:
            value = yield COMPUTE
        except Exception:
            yield from flights.close(turn, None, self.lifetime)
            rescued: Hit | None = flights.rescue(turn)
            if rescued is None:
                raise
            return rescued
        extra = tuple(member("t", tag) for tag in extra_tags)
        yield from flights.close(turn, packed(codec.encode(value)), self.lifetime, extra)
        return Hit(value, 0, 0)


def finish(flow: Flow[Hit], step: Any, send: Callable[[Any], Any]) -> Hit:
    """Go on with a flow that has come to this step, to its end."""
    try:
        while True:
            step = flow.send(send(step))
    except StopIteration as stop:
        hit: Hit = stop.value
        return hit


def soften(kit: RedisKit, *tags: str) -> None:
    """Invalidate tags softly, in every shard."""
    engine: Any = kit.cache.engine()
    for key in engine.shards.logs():
        engine.context.send(bump(engine, key, tags))


def bump(engine: Any, key: str, tags: tuple[str, ...]) -> Any:
    """The soft invalidation of tags in one shard."""
    members = [member("t", tag) for tag in tags]
    command = log.bump_command(key, engine.config.log_limit, members, soft=True)
    return Exchange("cache", key, [command], first, idempotent=True)
