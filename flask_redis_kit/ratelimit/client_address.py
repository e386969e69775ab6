"""Who a request comes from, when it may have come through proxies.

A header says what anybody wrote into it, so a hop is believed only if the one before it is trusted:
the way goes from the connection's peer backwards through ``X-Forwarded-For`` (or ``Forwarded``,
RFC 7239) and ends at the first address that is no trusted proxy. A hop that can't be read ends it,
too: then the proxy that reported it counts as the client, and nobody slips through by writing
garbage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from flask_redis_kit.ratelimit.networks import Address, Networks, counted_address, parsed_address

ProxyHeader: TypeAlias = Literal["x-forwarded-for", "forwarded"]
Trusted: TypeAlias = int | str | Iterable[str]
"""How many proxies stand in front, or their networks; ``"unix"`` is who comes by a unix socket."""

UNIX = "unix"
V6_PREFIX = 64
"""A customer gets a whole network of this size, so it counts as one client."""

MAX_HOPS = 32
"""More proxies in a row than anybody has; what is further away is not looked at."""

_LONGEST_HOP = 80
"""An address, its zone, brackets and a port."""

_VARIABLES = {"x-forwarded-for": "HTTP_X_FORWARDED_FOR", "forwarded": "HTTP_FORWARDED"}
_PORT = re.compile(r":[0-9]{1,5}\Z")
_PAIR = re.compile(
    r"""
    [ \t]*
    (?:([!\#$%&'*+.^_`|~0-9A-Za-z-]+) = (?:"((?:[^"\\]|\\.)*)" | ([^",;\s]*)))?
    [ \t]*
    (?:([;,]) | \Z)
    """,
    re.VERBOSE,
)
"""One ``name=value`` of ``Forwarded`` and what ends it."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whose word counts about the hop before them.

    ``networks``  trusted by their address.
    ``unix``      who comes by a unix socket, and so has none, is trusted.
    ``hops``      trusted by their number instead: this many proxies stand in front.
    """

    networks: Networks
    unix: bool = False
    hops: int = 0

    def client(self, peer: str | None, hops: Iterator[str]) -> Address | None:
        """The client's address. ``hops``: what the header says, nearest first."""
        if self.hops:
            return self._counted(peer, hops)
        client = parsed_address(peer) if peer else None
        if client is None and not (self.unix and not peer):
            return None
        for _, hop in zip(range(MAX_HOPS), hops, strict=False):
            if client is not None and client not in self.networks:
                break
            before = parsed_hop(hop)
            if before is None:
                break
            client = before
        return client

    def _counted(self, peer: str | None, hops: Iterator[str]) -> Address | None:
        nearest = [parsed_hop(hop) for _, hop in zip(range(self.hops), hops, strict=False)]
        # fewer hops than proxies: it did not come through all of them
        if len(nearest) == self.hops and nearest[-1] is not None:
            return nearest[-1]
        return parsed_address(peer) if peer else None


NOBODY = Proxies(Networks())


def parsed_proxies(trusted: Trusted) -> Proxies:
    """``2``, ``"2"``, ``"10.0.0.0/8, unix"`` or a list; ``ValueError`` names what is wrong."""
    if isinstance(trusted, str):
        trusted = trusted.split(",")
    if isinstance(trusted, bool) or not isinstance(trusted, (int, Iterable)):
        raise ValueError(f"{trusted!r} is neither networks nor a number of proxies.")
    if isinstance(trusted, int):
        return _by_number(trusted)
    texts = [text.strip() for text in trusted if text.strip()]
    if len(texts) == 1 and texts[0].isdecimal():
        return _by_number(int(texts[0]))
    if not texts:
        return NOBODY
    networks = Networks(text for text in texts if text.lower() != UNIX)
    return Proxies(networks, unix=UNIX in map(str.lower, texts))


def cached_proxies(trusted: Trusted) -> Proxies:
    """``parsed_proxies``, kept: for who gives them with each request."""
    return _kept_proxies(trusted if isinstance(trusted, (int, str)) else tuple(trusted))


_kept_proxies = lru_cache(maxsize=64, typed=True)(parsed_proxies)


def checked_prefix(bits: int) -> int:
    """A length of IPv6 networks that can tell clients apart; ``ValueError`` if it can't."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 16 <= bits <= 128:
        raise ValueError(f"{bits!r} is no length of IPv6 networks: use 16 to 128 bits.")
    return bits


def _by_number(hops: int) -> Proxies:
    if not 0 <= hops <= MAX_HOPS:
        raise ValueError(f"{hops} is no number of proxies: use 0 to {MAX_HOPS}.")
    return NOBODY if hops == 0 else Proxies(Networks(), hops=hops)


def client_address(
    environ: Mapping[str, object],
    proxies: Proxies,
    *,
    header: ProxyHeader = "x-forwarded-for",
    v6_prefix: int = V6_PREFIX,
) -> str | None:
    """The client of a request as limits count it; None if there is no address to be had.

    What is no IP address (a test client's "testclient") counts as it is.
    """
    client = None if proxies is NOBODY else find_client(environ, proxies, header)
    if client is not None:
        return counted_address(client, v6_prefix)
    peer = _peer(environ)
    return counted_peer(peer, v6_prefix) if peer else None


def find_client(
    environ: Mapping[str, object], proxies: Proxies, header: ProxyHeader
) -> Address | None:
    """The IP address of the client of a request; None if it has none."""
    value = environ.get(_VARIABLES[header])
    hops = hops_of(value, header) if isinstance(value, str) else iter(())
    return proxies.client(_peer(environ), hops)


def _peer(environ: Mapping[str, object]) -> str | None:
    peer = environ.get("REMOTE_ADDR")
    return peer if isinstance(peer, str) else None


@lru_cache(maxsize=4096)
def counted_peer(peer: str, v6_prefix: int) -> str:
    """An address, or the network it is counted by, as limits spell it; other text as it is."""
    address = parsed_address(peer)
    return peer if address is None else counted_address(address, v6_prefix)


def hops_of(value: str, header: ProxyHeader) -> Iterator[str]:
    """What a header says about each hop, nearest first."""
    return _from_the_right(value) if header == "x-forwarded-for" else _forwarded(value)


def _from_the_right(value: str) -> Iterator[str]:
    """Comma-separated parts, last first; a long header costs no more than what is asked of it."""
    while value:
        value, _, last = value.rpartition(",")
        yield last


def _forwarded(value: str) -> Iterator[str]:
    """The ``for`` of each element of ``Forwarded``, last first; nothing of a malformed header.

    A quote that a client leaves open swallows what the proxies add behind it, and could make their
    words its own: so the header is read from its beginning, and believed as a whole or not at all.
    """
    elements: list[list[str]] = [[]]
    position = 0
    while position < len(value):
        pair = _PAIR.match(value, position)
        if pair is None:
            return iter(())
        if (pair[1] or "").lower() == "for":
            elements[-1].append(pair[3] if pair[2] is None else pair[2])
        if pair[4] == ",":
            elements.append([])
        position = pair.end()
    return (element[0] if len(element) == 1 else "" for element in reversed(elements))


def parsed_hop(text: str) -> Address | None:
    """The address in ``192.0.2.1``, ``192.0.2.1:4711``, ``[2001:db8::1]:4711``; None if none."""
    text = text.strip()
    if len(text) > _LONGEST_HOP:
        return None  # nor is it kept
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not _PORT.match(rest)):
            return None
        return parsed_address(inner) if ":" in inner else None
    if text.count(":") == 1:
        text = _PORT.sub("", text)
    return parsed_address(text)
