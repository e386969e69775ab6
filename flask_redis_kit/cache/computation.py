"""A value computed once for all who ask, and kept as it is: no arguments, no rules of HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from flask_redis_kit.cache.flight import Call, Decode, Flights, Hit
from flask_redis_kit.cache.flow import COMPUTE, Flow
from flask_redis_kit.cache.payload import Payload
from flask_redis_kit.cache.running import Running, tag
from flask_redis_kit.cache.ttl import Lifetime

log = logging.getLogger("flask_redis_kit.cache")


class Computation(NamedTuple):
    """A value that may have to be computed.

    ``owner``   the cache it belongs to, for the tags that are added meanwhile.
    ``about``   its name in messages.
    ``pack``    makes of it and its user's tags what is stored; None: nothing is.
    """

    owner: object
    call: Call
    about: str
    lifetime: Lifetime
    decode: Decode
    pack: Callable[[Any, tuple[bytes, ...]], Payload | None]

    def flow(self, flights: Flights) -> Flow[Any]:
        """The value from the cache, or computed and stored. One round trip for a hit, three else.

        While one computes, others wait, or are served the old value in its grace period; so is the
        one whose computation raises. What is made of the value gets its tags.
        """
        found = yield from flights.obtain(self.call, self.decode)
        if isinstance(found, Hit):
            tag(self.owner, found.tags, old=found.old)
            return found.value
        with Running(self.owner, self.call) as running:
            try:
                value = yield COMPUTE
            except BaseException as error:
                stale = flights.rescue(found) if isinstance(error, Exception) else None
                yield from flights.close(found, None, self.lifetime)
                if stale is None:
                    raise
                log.warning("%s has failed; its old value is served", self.about, exc_info=True)
                tag(self.owner, stale.tags, old=stale.old)
                return stale.value
            lifetime = running.lifetime(self.lifetime)
            payload = None
            if lifetime is None:
                flights.refuse(found, "stale")
            elif found.token is not None:
                payload = self.pack(value, running.tags)
            lifetime, refused = lifetime or self.lifetime, payload is None
            yield from flights.close(found, payload, lifetime, running.tags, refused=refused)
            return value
