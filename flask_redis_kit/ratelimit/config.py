"""The settings ``REDIS_RATELIMIT_…``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from flask_redis_kit.core.config import FeatureConfig, require_positive
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.ratelimit.client_address import (
    V6_PREFIX,
    ProxyHeader,
    checked_prefix,
    parsed_proxies,
)
from flask_redis_kit.ratelimit.headers import checked_dialects
from flask_redis_kit.ratelimit.limits import OnFailure
from flask_redis_kit.ratelimit.networks import Networks
from flask_redis_kit.ratelimit.rates import parse_limits


@dataclass(frozen=True, slots=True)
class RateLimitConfig(FeatureConfig):
    """What the rate limits of one application do.

    ``on_error``   when the server can't be asked: "open" lets the request pass uncounted and logs a
                   warning, "closed" answers 503, "local" counts in this process, "raise" raises the
                   server's error. A limit may say otherwise.
    ``workers``    how many processes serve the application: "local" gives each its share.
    ``atomicity``  on Cluster, for limits of one request over different identities: "slot" lets each
                   lie in its own slot and hands back what was counted if another refuses; "strict"
                   puts all limits into one slot, and they are one script as elsewhere.
    ``application``  limits of all requests together, for each client: "1000/hour".
    ``default``    limits of each route that has none of its own.
    ``exempt``     networks whose clients no decorator, blueprint or application limits.
    ``headers``    which headers tell how limits stand: "x" (the X-RateLimit trio), "x-delta" (its
                   reset in seconds from now), "draft-10" and "draft-11" (the IETF's), or "off".
    ``trusted_proxies``  whose word about the client's address is believed: networks, "unix" for
                   who comes by a unix socket, or the number of proxies in front.
    ``proxy_header``  where they write it.
    ``ipv6_prefix``  the bits of an IPv6 address that count: a customer has a whole network.
    """

    on_error: OnFailure = "open"
    workers: int = 1
    atomicity: Literal["slot", "strict"] = "slot"
    application: str | None = None
    default: str | None = None
    exempt: tuple[str, ...] = ()
    headers: tuple[str, ...] = ("x", "draft-10")
    trusted_proxies: int | tuple[str, ...] = ()
    proxy_header: ProxyHeader = "x-forwarded-for"
    ipv6_prefix: int = V6_PREFIX

    def __post_init__(self) -> None:
        require_positive(self, "REDIS_RATELIMIT", ("workers",))
        _check("APPLICATION", parse_limits, self.application)
        _check("DEFAULT", parse_limits, self.default)
        _check("EXEMPT", Networks, self.exempt)
        _check("TRUSTED_PROXIES", parsed_proxies, self.trusted_proxies)
        _check("IPV6_PREFIX", checked_prefix, self.ipv6_prefix)
        _check("HEADERS", checked_dialects, self.headers)


def _check(field: str, parse: Callable[[Any], object], value: object) -> None:
    key = f"REDIS_RATELIMIT_{field}"
    try:
        if value is not None:
            parse(value)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}", key=key) from None
