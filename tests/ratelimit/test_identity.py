"""Identities: no two share a log, and the client's address is read as it should be."""

from __future__ import annotations

from uuid import UUID

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_kit import RedisKit, rate_limit
from flask_redis_kit.ratelimit import RateLimitKeyError, client_ip
from flask_redis_kit.ratelimit.client_address import V6_PREFIX, counted_peer
from flask_redis_kit.ratelimit.identity import Identity, hashed
from tests.ratelimit.conftest import Limited

nasty = st.text(alphabet="ab:/,0123456789st\x00(')", max_size=6)
scalars = nasty.filter(bool) | st.integers() | st.binary(min_size=1, max_size=4)
identities = st.recursive(
    scalars, lambda inner: st.lists(inner, min_size=1, max_size=3).map(tuple), max_leaves=6
)


def spelled(identity: Identity) -> object:
    """An identity as the docs define it: text, its bytes and its digits are one."""
    if isinstance(identity, tuple):
        return tuple(spelled(part) for part in identity)
    return identity if isinstance(identity, bytes) else str(identity).encode()


@given(identities, identities)
def test_only_equal_identities_share_a_hash(one: Identity, other: Identity) -> None:
    same = hashed(one, source="test") == hashed(other, source="test")
    assert same == (spelled(one) == spelled(other))


def test_the_collisions_of_joined_keys_are_none_here() -> None:
    different: list[Identity] = [
        ("a", "b"),
        ("a:sb",),  # what a joined encoding would make of the pair
        ("a/b", "c"),
        ("a", "b/c"),
        ("a", "b", "c"),
        (("a", "b"), "c"),
        ("a", ("b", "c")),
        "a/b/c",
        ("a/b/c",),
        ("a", ""),
        ("", "a"),
        "s1:a",
        ("1:a",),
    ]
    assert len({hashed(identity, source="test") for identity in different}) == len(different)


def test_an_id_is_the_same_as_text_bytes_and_number() -> None:
    number = UUID(int=5)
    assert len({hashed(i, source="") for i in ("42", 42, b"42")}) == 1
    assert hashed(number, source="") == hashed(str(number), source="")


def test_a_hash_is_short_and_has_nothing_of_the_key_in_it() -> None:
    tag = hashed("}{" * 100_000, source="test")
    assert len(tag) == 32
    assert set(tag) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("testclient", "testclient"),
    ],
)
def test_an_address_counts_as_its_network(address: str, counted: str) -> None:
    assert counted_peer(address, V6_PREFIX) == counted


def test_by_default_a_limit_counts_the_connection_s_address(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=1, window=60)
    def home() -> str:
        return client_ip()

    def get(address: str, **headers: str) -> int:
        environ = {"REMOTE_ADDR": address}
        return limited.client.get("/", environ_base=environ, headers=headers).status_code

    assert [get("2001:db8::1"), get("2001:db8::2"), get("2001:db8:0:1::1")] == [200, 429, 200]
    assert [get("192.0.2.1"), get("::ffff:192.0.2.1")] == [200, 429]
    # nobody says whom to trust, so nobody is: a client can't choose its own address
    assert get("192.0.2.1", **{"X-Forwarded-For": "192.0.2.99"}) == 429


@pytest.mark.parametrize("address", ["", None])
def test_no_address_is_an_error_with_a_cure(limited: Limited, address: str | None) -> None:
    @limited.app.get("/")
    @rate_limit(limit=1, window=60)
    def home() -> str:
        raise AssertionError("it was let through")

    limited.app.testing = True
    with pytest.raises(RateLimitKeyError, match="ProxyFix"):
        limited.client.get("/", environ_overrides={"REMOTE_ADDR": address})


def test_a_function_outside_of_requests_needs_a_key() -> None:
    app = Flask("shop")
    kit = RedisKit(app)

    @kit.ratelimit.rate_limit(limit=1, window=60)
    def work() -> None:
        raise AssertionError("it was let through")

    with app.app_context(), pytest.raises(RateLimitKeyError, match="key_func="):
        work()
