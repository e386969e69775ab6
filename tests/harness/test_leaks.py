"""The key-leak check finds what it is for."""

from __future__ import annotations

import pytest
import redis

from flask_redis_kit.core.keys import KeySpec
from tests.harness.leaks import unexpected_persistent_keys

VALUE = KeySpec("frk:{<ns>:<tag>}:cache:v:<digest>", "string", "the entry's", "a value")
QUEUE = KeySpec("frk:{<ns>:<tag>}:queue:ready", "list", None, "capped by REDIS_QUEUE_MAX")
CHANNEL = KeySpec("frk:{<ns>:<tag>}:events:c:<name>", "channel", None, "no key")
SPECS = (VALUE, QUEUE, CHANNEL)


@pytest.fixture
def client(redis_client: redis.Redis, extra_keyspace: list[KeySpec]) -> redis.Redis:
    # these tests leak on purpose: whatever they leave is allowed afterwards
    extra_keyspace.extend(KeySpec("frk:<any>", each, None, "") for each in ("string", "list"))
    return redis_client


def test_declared_keys_are_expected(client: redis.Redis) -> None:
    client.set("frk:{shop:a}:cache:v:12:34", 1, ex=60)
    client.rpush("frk:{shop:a}:queue:ready", 1)
    client.set("other", 1)
    assert unexpected_persistent_keys(client, SPECS) == []


def test_a_key_without_its_ttl_is_reported(client: redis.Redis) -> None:
    client.set("frk:{shop:a}:cache:v:1", 1)
    assert unexpected_persistent_keys(client, SPECS) == [b"frk:{shop:a}:cache:v:1"]


@pytest.mark.parametrize(
    "key",
    ["frk:{shop:a}:cache:w:1", "frk:{shop:a}:cache:v:", "frk:{shop:a}:queue:ready", "frk:x"],
)
def test_an_undeclared_name_or_type_is_reported_even_with_a_ttl(
    client: redis.Redis, key: str
) -> None:
    client.set(key, 1, ex=60)
    assert unexpected_persistent_keys(client, SPECS) == [key.encode()]


def test_a_channel_declares_no_key(client: redis.Redis) -> None:
    client.set("frk:{shop:a}:events:c:news", 1, ex=60)
    assert unexpected_persistent_keys(client, SPECS) == [b"frk:{shop:a}:events:c:news"]
