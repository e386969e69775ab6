"""Who the client is behind proxies: headers are believed from trusted hops only."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_redis_kit.ratelimit.client_address import (
    NOBODY,
    Trusted,
    client_address,
    parsed_hop,
    parsed_proxies,
)
from flask_redis_kit.ratelimit.networks import Networks, parsed_address

PROXY = "10.0.0.1"
INTERNAL = parsed_proxies("10.0.0.0/8, fd00::/8")


def by_xff(value: str, peer: str | None = PROXY, trusted: Trusted = "10.0.0.0/8") -> str | None:
    environ: dict[str, object] = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": value}
    return client_address(environ, parsed_proxies(trusted))


def by_forwarded(value: str) -> str | None:
    environ: dict[str, object] = {"REMOTE_ADDR": PROXY, "HTTP_FORWARDED": value}
    return client_address(environ, INTERNAL, header="forwarded")


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7", "198.51.100.7"),  # what the client wrote stands further left
        ("6.6.6.6, 198.51.100.7, 10.9.9.9", "198.51.100.7"),
        (" 198.51.100.7 ,10.9.9.9", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8:1:2:3::4]:443", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),  # everybody is trusted: the furthest
    ],
)
def test_the_nearest_hop_that_is_no_trusted_proxy_is_the_client(header: str, client: str) -> None:
    assert by_xff(header) == client


@pytest.mark.parametrize(
    "hop",
    ["", "unknown", "_secret", "010.0.0.1", "127.1", "1.2.3.4.5", "::1::", "1.2.3.4:", "[1.2.3.4]",
     "[::1", "[::1]x", "1.2.3.4:123456", '"1.2.3.4"', "1.2.3.4 5", "a" * 10_000, "١.2.3.4"],
)  # fmt: skip
def test_a_hop_that_can_not_be_read_ends_the_way_at_the_proxy_that_reported_it(hop: str) -> None:
    assert parsed_hop(hop) is None
    assert by_xff(f"6.6.6.6, {hop}, 10.2.2.2") == "10.2.2.2"
    assert by_xff(f"6.6.6.6, {hop}") == PROXY


def test_what_is_too_long_for_an_address_is_not_kept() -> None:
    before = parsed_address.cache_info().currsize
    for n in range(20):
        assert parsed_hop(f"{n}".rjust(1000, "1")) is None
    assert parsed_address.cache_info().currsize == before
    assert str(parsed_hop(f" [{'2001:db8:' + ':'.join(['ffff'] * 6)}]:65535 ")).endswith("ffff")


@pytest.mark.parametrize("peer", ["203.0.113.5", "::ffff:203.0.113.5"])
def test_a_peer_that_is_no_proxy_is_the_client_whatever_it_claims(peer: str) -> None:
    assert by_xff("6.6.6.6", peer=peer) == "203.0.113.5"


def test_a_mapped_proxy_and_a_mapped_network_are_the_ipv4_ones() -> None:
    assert by_xff("1.2.3.4", peer="::ffff:10.0.0.1") == "1.2.3.4"
    assert by_xff("1.2.3.4", trusted="::ffff:10.0.0.0/104") == "1.2.3.4"
    assert by_xff("1.2.3.4", peer="fd00::5%en0", trusted=["fd00::/8"]) == "1.2.3.4"


@pytest.mark.parametrize(
    ("hops", "header", "client"),
    [
        (1, "6.6.6.6, 198.51.100.7", "198.51.100.7"),
        (2, "6.6.6.6, 198.51.100.7, 10.3.3.3", "198.51.100.7"),
        ("2", "198.51.100.7, 172.16.0.1", "198.51.100.7"),
        (2, "6.6.6.6", PROXY),  # it did not come through both
        (1, "6.6.6.6, garbage", PROXY),
        (1, "", PROXY),
        (0, "6.6.6.6", PROXY),
    ],
)
def test_proxies_can_be_trusted_by_their_number(hops: Trusted, header: str, client: str) -> None:
    assert by_xff(header, trusted=hops) == client


def test_a_proxy_on_a_unix_socket_has_no_address_and_is_trusted_by_that_word() -> None:
    for peer in ("", None):
        assert by_xff("198.51.100.7", peer=peer, trusted="unix") == "198.51.100.7"
        assert by_xff("198.51.100.7, 10.1.1.1", peer=peer, trusted="unix, 10.0.0.0/8") == (
            "198.51.100.7"
        )
        assert by_xff("198.51.100.7", peer=peer, trusted="10.0.0.0/8") is None
        assert by_xff("garbage", peer=peer, trusted="unix") is None
        assert by_xff("198.51.100.7", peer=peer, trusted=1) == "198.51.100.7"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("for=198.51.100.7", "198.51.100.7"),
        ("for=6.6.6.6, For=198.51.100.7;proto=https;by=10.0.0.1", "198.51.100.7"),
        ('proto=http; for="[2001:db8:1:2::9]:4711", for=10.2.2.2', "2001:db8:1:2::/64"),
        ('for="198.51.100.7:80"', "198.51.100.7"),
        ("for=198.51.100.7,by=10.0.0.1", PROXY),  # the nearest hop names nobody
        ("for=_hidden", PROXY),
        ("for=198.51.100.7;for=6.6.6.6", PROXY),
        # an open quote of the client's swallows what the proxies add: nothing of it is believed
        ('for="6.6.6.6, for=198.51.100.7', PROXY),
        ('for=6.6.6.6;x=", for="[2001:db8::1]:80"', PROXY),
        ('x=", for="[2001:db8::1]";host="a, for=6.6.6.6"', PROXY),
        ('by="a;for=6.6.6.6"', PROXY),
        ("xfor=6.6.6.6", PROXY),
        ("for", PROXY),
    ],
)
def test_forwarded_is_read_as_rfc_7239_has_it(header: str, client: str) -> None:
    assert by_forwarded(header) == client


def test_only_the_header_that_is_chosen_counts() -> None:
    environ: dict[str, object] = {
        "REMOTE_ADDR": PROXY,
        "HTTP_X_FORWARDED_FOR": "198.51.100.7",
        "HTTP_FORWARDED": "for=6.6.6.6",
    }
    assert client_address(environ, INTERNAL) == "198.51.100.7"
    assert client_address(environ, INTERNAL, header="forwarded") == "6.6.6.6"
    assert client_address(environ, NOBODY) == PROXY


@pytest.mark.parametrize("prefix", [48, 56, 64, 128])
def test_an_ipv6_client_counts_by_its_network(prefix: int) -> None:
    environ: dict[str, object] = {"REMOTE_ADDR": "2001:db8:1:2:3:4:5:6"}
    network = ipaddress.ip_network(f"2001:db8:1:2:3:4:5:6/{prefix}", strict=False)
    assert client_address(environ, NOBODY, v6_prefix=prefix) == str(network)


addresses = st.ip_addresses()
junk = st.text(alphabet='0123456789abcdef.:%,;="[] \\for', max_size=40)


@settings(deadline=None)  # a busy machine
@given(junk, addresses)
def test_nobody_chooses_his_address_whatever_he_writes(written: str, real: object) -> None:
    """A client's own header, to which its proxy adds the address it sees."""
    shown = f"[{real}]:80" if ":" in str(real) else str(real)
    address = parsed_address(str(real))
    assert address is not None
    for header, value in (
        ("x-forwarded-for", f"{written}, {shown}"),
        ("forwarded", f'{written}, for="{shown}"'),
    ):
        name = "HTTP_" + header.upper().replace("-", "_")
        client = client_address(
            {"REMOTE_ADDR": "192.0.2.1", name: value},
            parsed_proxies("192.0.2.1"),
            header=header,  # type: ignore[arg-type]
            v6_prefix=128,
        )
        assert client in {str(address), f"{address}/128", "192.0.2.1"}


@settings(deadline=None)  # a busy machine
@given(st.lists(st.integers(0, 2**32 - 1), max_size=5), st.integers(1, 32), st.integers(0, 2**32))
def test_a_set_of_networks_holds_what_they_hold(starts: list[int], prefix: int, n: int) -> None:
    networks = [ipaddress.ip_network((start, prefix), strict=False) for start in starts]
    address = ipaddress.IPv4Address(n % 2**32)
    held = Networks(map(str, networks))
    assert (address in held) == any(address in network for network in networks)
    assert ipaddress.IPv6Address(int(address)) not in held
    assert set(held) == set(networks)


@pytest.mark.parametrize(
    ("trusted", "said"),
    [
        ("10.1.2.3/8", "Did you mean 10.0.0.0/8"),
        ("10.0.0.0/40", "10.0.0.0/40"),
        ("proxy.example", "proxy.example"),
        (-1, "-1"),
        (33, "33"),
        (True, "True"),
        (1.5, "1.5"),
        (["10.0.0.0/8", "x"], "'x'"),
    ],
)
def test_what_is_no_network_is_refused(trusted: Trusted, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parsed_proxies(trusted)
