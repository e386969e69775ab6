"""Sets of IP networks, and addresses as they are compared with them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED_BITS = 96
_LONGEST = 64
"""No spelling of an address is longer: 45 characters and a zone."""


@lru_cache(maxsize=4096)
def parsed_address(text: str) -> Address | None:
    """An address, its zone (``%eth0``) dropped, ``::ffff:192.0.2.1`` as IPv4; None if it is none.

    Only the usual spelling counts: ``010.0.0.1`` and ``127.1`` mean different things elsewhere.
    """
    if len(text) > _LONGEST:
        return None
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def counted_address(address: Address, v6_prefix: int) -> str:
    """An address as limits count it: IPv4 whole, IPv6 by its network of ``v6_prefix`` bits."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    plain = ipaddress.IPv6Address(int(address))  # without a zone
    return str(ipaddress.ip_network((plain, v6_prefix), strict=False))


class Networks:
    """A set of networks. Asking costs one look-up for each length of prefix in it."""

    __slots__ = ("_by_prefix", "_networks")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Raises ``ValueError`` naming the text that is no network; an empty one is none."""
        self._networks = tuple(dict.fromkeys(_parsed(text) for text in texts if text))
        self._by_prefix: dict[tuple[int, int], set[int]] = {}
        for network in self._networks:
            kind = (network.version, network.max_prefixlen - network.prefixlen)
            starts = self._by_prefix.setdefault(kind, set())
            starts.add(int(network.network_address) >> kind[1])

    def __contains__(self, address: Address) -> bool:
        number = int(address)
        return any(
            version == address.version and number >> host_bits in starts
            for (version, host_bits), starts in self._by_prefix.items()
        )

    def __iter__(self) -> Iterator[Network]:
        return iter(self._networks)

    def __len__(self) -> int:
        return len(self._networks)

    def __repr__(self) -> str:
        return f"Networks({', '.join(map(str, self._networks))})"


def _parsed(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        wide = _widened(text)
        cure = f" Did you mean {wide}?" if wide else " Write it as 10.0.0.0/8 or 2001:db8::/32."
        raise ValueError(f"{text!r} is no network: {error}.{cure}") from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= _MAPPED_BITS:
        return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _widened(text: str) -> str | None:
    """The network around an address with a prefix: 10.0.0.0/8 for 10.1.2.3/8."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None
