"""Publishing: what is stored, what is refused, what it costs, and what a failing server does."""

from __future__ import annotations

import datetime
import decimal
import itertools
import json
import threading
import uuid
from collections.abc import Callable
from typing import cast

import pytest
import redis
from redis.crc import key_slot

from flask_redis_kit import ConfigError, ServerUnavailable
from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.events import BrokenChannel, EventDataError, EventNameError, EventTooLarge
from flask_redis_kit.events.channels import PARTITIONS, Channel, Channels
from flask_redis_kit.events.config import EventsConfig
from tests.events.shop import Shop
from tests.harness.proxy import Proxy
from tests.harness.servers import free_port


def entries_of(shop: Shop, client: redis.Redis, name: str) -> list[dict[bytes, bytes]]:
    channel = shop.engine.channels.plain(name)
    return [fields for _, fields in history(client, channel)]


def history(client: redis.Redis, channel: Channel) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(channel.history))


def test_an_event_is_plain_json_in_its_history_and_names_the_one_before_it(
    shop: Shop, redis_client: redis.Redis
) -> None:
    first = shop.publish("sales", {"title": "Ümläut\u2028 ☕", "n": [1, 2.5, None, True]})
    second = shop.publish("sales", "again")
    entries = entries_of(shop, redis_client, "sales")
    assert [entry[b"p"] for entry in entries] == [b"0-0", first.encode()]
    content = json.loads(entries[0][b"d"])
    assert set(content) == {"type", "data", "timestamp"}
    assert content["data"] == {"title": "Ümläut\u2028 ☕", "n": [1, 2.5, None, True]}
    assert datetime.datetime.fromisoformat(content["timestamp"]).tzinfo is not None
    meta = redis_client.hgetall(shop.engine.channels.plain("sales").meta)
    assert meta == {b"l": second.encode()}


def test_history_and_meta_expire_and_a_users_sooner(shop: Shop, redis_client: redis.Redis) -> None:
    shop.publish("sales", 1)
    with shop.app.app_context():
        shop.kit.events.publish_to_user(42, "made", 1)
        shop.kit.events.publish_broadcast("made", 1)
    channels = shop.engine.channels
    for channel, seconds in (
        (channels.plain("sales"), 3600),
        (channels.user("42"), 900),
        (channels.broadcast(), 3600),
    ):
        assert seconds - 60 < redis_client.ttl(channel.history) <= seconds
        assert 29 * 86400 < redis_client.ttl(channel.meta) <= 30 * 86400


def test_ids_grow_and_chain_when_threads_publish_at_once(
    shop: Shop, redis_client: redis.Redis
) -> None:
    def publish() -> None:
        for n in range(50):
            shop.publish("sales", n)

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    channel = shop.engine.channels.plain("sales")
    found = history(redis_client, channel)
    assert len(found) >= 200
    for (before, _), (_, fields) in itertools.pairwise(found):
        assert fields[b"p"] == before


def test_ids_grow_although_the_servers_clock_is_behind_the_last_one(
    shop: Shop, redis_client: redis.Redis
) -> None:
    channel = shop.engine.channels.plain("sales")
    redis_client.hset(channel.meta, "l", "9999999999999-7")
    assert shop.publish("sales", 1) == "9999999999999-8"
    assert shop.publish("sales", 2) == "9999999999999-9"


def test_an_entry_that_somebody_else_added_with_a_later_id_does_not_stop_a_channel(
    shop: Shop, redis_client: redis.Redis
) -> None:
    first = shop.publish("sales", 1)
    channel = shop.engine.channels.plain("sales")
    redis_client.xadd(channel.history, {"mine": "x"}, id="9999999999999-7")
    assert shop.publish("sales", 2) == "9999999999999-8"
    assert entries_of(shop, redis_client, "sales")[-1][b"p"] == first.encode()


@pytest.mark.parametrize(
    "damage", ["gone", "no id", "99999999999999999-0", "9" * 25 + "-0", f"9-{2**64 - 1}"]
)
def test_a_channel_goes_on_after_its_meta_was_damaged(
    shop: Shop, redis_client: redis.Redis, damage: str
) -> None:
    first = shop.publish("sales", 1)
    channel = shop.engine.channels.plain("sales")
    redis_client.delete(channel.meta)
    if damage != "gone":
        redis_client.hset(channel.meta, "l", damage)
    shop.publish("sales", 2)
    assert [entry[b"p"] for entry in entries_of(shop, redis_client, "sales")] == [
        b"0-0",
        first.encode(),
    ]


def test_a_publication_is_one_round_trip_and_a_thousand_use_one_connection(
    open_shop: Callable[..., Shop], proxy: Proxy
) -> None:
    shop = open_shop(proxy.url)
    shop.publish("sales", 0)  # the server learns the script
    with proxy.counting() as count:
        for n in range(1000):
            shop.publish(f"sales.{n % 7}", n)
    assert count.trips == 1000
    assert proxy.connections == 1


def test_publishing_goes_on_after_script_flush(shop: Shop, redis_client: redis.Redis) -> None:
    for n in range(3):
        shop.publish("sales", n)
        redis_client.script_flush()
    assert len(entries_of(shop, redis_client, "sales")) == 3


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (datetime.datetime(2026, 1, 1), "data is a datetime"),
        ({"order": {"id": uuid.uuid4()}}, r"data\['order'\]\['id'\] is a UUID"),
        ([1, decimal.Decimal("1")], r"data\[1\] is a Decimal"),
        ({"tags": {"a"}}, r"data\['tags'\] is a set"),
        (b"bytes", "data is a bytes"),
        ({1: "x"}, "the key 1"),
        (float("nan"), "data is nan"),
        ([float("-inf")], r"data\[0\] is -inf"),
        ("\ud800", "can't be written as JSON"),
    ],
)
def test_data_that_is_no_json_is_refused_by_its_place(
    shop: Shop, redis_client: redis.Redis, data: object, named: str
) -> None:
    with pytest.raises(EventDataError, match=named):
        shop.publish("sales", data)
    assert not redis_client.keys("*")


def test_data_that_contains_itself_is_refused(shop: Shop) -> None:
    data: list[object] = []
    data.append(data)
    with pytest.raises(EventDataError, match="contains itself"):
        shop.publish("sales", data)


def test_an_event_over_the_limit_is_refused(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(payload_limit=1000)
    shop.publish("sales", "x" * 900)
    with pytest.raises(EventTooLarge, match="REDIS_EVENTS_PAYLOAD_LIMIT") as caught:
        shop.publish("sales", "x" * 1000)
    assert caught.value.size > caught.value.limit == 1000


BAD_NAMES = [
    "",
    "a b",
    "a\r\nid: 1",
    "a\nb",
    "a\0b",
    "ä",
    "a{b}",
    "user~42",
    "x" * 201,
    "a\n",
    None,
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_channel_names_and_types_are_refused(shop: Shop, name: str) -> None:
    with shop.app.app_context():
        with pytest.raises(EventNameError, match="channel"):
            shop.kit.events.publish(name, "made", 1)
        with pytest.raises(EventNameError, match="type"):
            shop.kit.events.publish("sales", name, 1)
        with pytest.raises(EventNameError, match="channel"):
            shop.kit.events.cursor([name])


@pytest.mark.parametrize("name", ["reset", "open", "error"])
def test_types_with_a_meaning_of_their_own_are_refused(shop: Shop, name: str) -> None:
    with pytest.raises(EventNameError, match="reserved"):
        shop.publish("sales", 1, type=name)


@pytest.mark.parametrize("user_id", ["", None, True, 1.5, b"42", "\ud800", "x" * 200])
def test_bad_user_ids_are_refused(shop: Shop, user_id: str) -> None:
    with shop.app.app_context(), pytest.raises(EventNameError, match="user id"):
        shop.kit.events.publish_to_user(user_id, "made", 1)


def test_no_two_user_ids_share_a_channel_and_no_plain_name_reaches_one() -> None:
    channels = Channels(KeyBuilder("shop"), EventsConfig())
    ids = ["42", "a b", "a%20b", "a+b", "{42}", "~", "broadcast~", "ä", "a/b", "a:b", "\n"]
    names = [channels.user(user_id).name for user_id in ids]
    assert len(set(names)) == len(ids)
    assert channels.user(42).name == channels.user("42").name
    for name in [*names, channels.broadcast().name]:
        with pytest.raises(EventNameError):
            channels.plain(name)


def test_one_string_for_channels_and_too_many_are_refused(shop: Shop) -> None:
    with shop.app.app_context():
        with pytest.raises(EventNameError, match=r"channels=\['sales'\]"):
            shop.kit.events.cursor("sales")
        with pytest.raises(EventNameError, match="16 are possible"):
            shop.kit.events.cursor([f"c{n}" for n in range(15)], user=1)


@pytest.mark.parametrize("namespace", ["shop", "a", "x.y-z_0123456789"])
def test_the_partitions_lie_one_in_each_64th_of_the_slots_in_any_namespace(namespace: str) -> None:
    slots = [key_slot(f"{{{namespace}:{tag}}}".encode()) for tag in PARTITIONS]
    assert sorted(slot >> 8 for slot in slots) == list(range(64))


def test_all_keys_of_a_channel_share_a_slot_and_channels_spread() -> None:
    channels = Channels(KeyBuilder("shop"), EventsConfig())
    slots = set()
    for n in range(2000):
        channel = channels.plain(f"channel.{n}")
        found = {key_slot(key.encode()) for key in (channel.history, channel.meta, channel.topic)}
        assert len(found) == 1
        slots |= found
    assert len(slots) == 64
    # pinned: every process, and every later version, must look in the same place
    assert channels.plain("sales").history == "frk:{shop:19}:event:h:sales"


def test_publishing_raises_at_once_when_redis_is_away(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(ServerUnavailable, match="REDIS_URL"):
        shop.publish("sales", 1)


@pytest.mark.parametrize("how", ["silent", "broken"])
def test_a_publication_whose_reply_is_lost_is_never_sent_twice(
    open_shop: Callable[..., Shop], proxy: Proxy, redis_client: redis.Redis, how: str
) -> None:
    shop = open_shop(f"{proxy.url}?socket_timeout=1")
    shop.publish("sales", 0)
    if how == "silent":
        proxy.drop_replies(1)
    else:
        proxy.cut_after(1)
    with pytest.raises(ServerUnavailable):
        shop.publish("sales", 1)
    assert len(entries_of(shop, redis_client, "sales")) == 2


@pytest.mark.parametrize("kind", ["history", "meta"])
def test_a_foreign_value_under_a_channels_key_is_named(
    shop: Shop, redis_client: redis.Redis, kind: str
) -> None:
    channel = shop.engine.channels.plain("sales")
    redis_client.set(getattr(channel, kind), "mine", px=60000)
    with pytest.raises(BrokenChannel, match=r"channel 'sales'.*event:h:sales.*REDIS_NAMESPACE"):
        shop.publish("sales", 1)
    assert redis_client.keys("*") == [getattr(channel, kind).encode()]
    redis_client.flushall()


def test_while_events_are_off_nothing_is_sent_but_bad_input_is_still_refused(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(f"redis://127.0.0.1:{free_port()}/0", enabled=False)
    with shop.app.app_context():
        assert shop.kit.events.publish("sales", "made", 1) == ("0-0", 0)
        with pytest.raises(EventDataError):
            shop.kit.events.publish("sales", "made", object())
        with shop.kit.events.subscribe(["sales"]) as events:
            assert events.get(0.01) is None
        assert shop.kit.events.cursor(["sales"]) == "v1"
    assert shop.app.test_client().get("/events?channel=sales").status_code == 204
    assert "redis-kit-events" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    "settings", [{"history_length": 0}, {"heartbeat": -1}, {"meta_ttl": 60, "history_ttl": 3600}]
)
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="REDIS_EVENTS_"):
        Shop("redis://localhost/0", **settings)
