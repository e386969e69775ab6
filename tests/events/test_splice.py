"""History and live events spliced: no gap, no repeat, and a reset where events are lost."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable

import pytest
import redis

from flask_redis_kit import ServerUnavailable
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.events import EventNameError, EventReader, listener
from flask_redis_kit.events.publisher import PUBLISH
from tests.events.browser import Browser
from tests.events.shop import Shop, serving
from tests.harness.certificates import Certificates
from tests.harness.proxy import Proxy
from tests.harness.servers import Server, free_port
from tests.waiting import wait_until


def subscribe(shop: Shop, *channels: str, after: str | None = None) -> EventReader:
    with shop.app.app_context():
        return shop.kit.events.subscribe(channels, after=after)


def cursor(shop: Shop, *channels: str) -> str:
    with shop.app.app_context():
        return shop.kit.events.cursor(channels)


def taken(reader: EventReader, n: int) -> list[object]:
    """The data of the next ``n`` events; a reset is ``"reset <channel>"``."""
    found: list[object] = []
    for _ in range(n):
        event = reader.get(60)
        assert event is not None, f"nothing came after {found}"
        found.append(f"reset {event.channel}" if event.type == "reset" else event.data)
    return found


def publish_raw(shop: Shop, name: str, body: bytes) -> None:
    """Publish a body that the kit would not write."""
    channel = shop.engine.channels.plain(name)
    call = PUBLISH.call((channel.history, channel.meta), (channel.topic, body, 200, 60000, 60000))
    shop.engine.wire.send(Exchange("events", channel.history, [call], first))


def kill_hub(client: redis.Redis) -> int:
    """End the connections that listen; how many there were."""
    return int(client.client_kill_filter(_type="pubsub"))


def test_a_reader_gets_what_is_published_from_its_creation_on(shop: Shop) -> None:
    shop.publish("sales", "before")
    with subscribe(shop, "sales") as reader:
        for n in range(100):
            shop.publish("sales", n)
        assert taken(reader, 100) == list(range(100))
        assert reader.get(0) is None


def test_an_event_says_all_about_itself(shop: Shop) -> None:
    with subscribe(shop, "sales") as reader:
        published = shop.publish("sales", {"n": 1}, type="sold")
        event = reader.get(60)
    assert event is not None
    assert (event.channel, event.type, event.data, event.id) == (
        "sales",
        "sold",
        {"n": 1},
        published,
    )
    assert abs(event.timestamp.timestamp() - int(published.split("-")[0]) / 1000) < 60


def test_a_reader_goes_on_after_a_cursor_with_no_trip_before_it_listens(
    open_shop: Callable[..., Shop], proxy: Proxy
) -> None:
    shop = open_shop(proxy.url)
    after = cursor(shop, "sales", "stock")
    for n in range(3):
        shop.publish("sales", n)
    with subscribe(shop, "sales", "stock", after=after) as reader:
        assert taken(reader, 2) == [0, 1]
        position = reader.position
    with subscribe(shop, "sales", "stock", after=position) as reader:
        assert taken(reader, 1) == [2]
    with pytest.raises(EventNameError, match=r"after='nonsense'"):
        subscribe(shop, "sales", after="nonsense")


def test_two_channels_with_the_same_id_do_not_hide_each_others_events(
    shop: Shop, redis_client: redis.Redis
) -> None:
    after = cursor(shop, "sales", "stock")
    for name in ("sales", "stock"):  # the clock is behind, so the ids go on from here
        redis_client.hset(shop.engine.channels.plain(name).meta, "l", "9000000000000-0")
        redis_client.pexpire(shop.engine.channels.plain(name).meta, 60000)
    after = cursor(shop, "sales", "stock")
    for n in range(4):
        assert shop.publish("sales", f"sales {n}") == shop.publish("stock", f"stock {n}")
    with subscribe(shop, "sales", "stock", after=after) as reader:
        found = taken(reader, 3)
        after = reader.position
    with subscribe(shop, "sales", "stock", after=after) as reader:
        found += taken(reader, 5)
        assert reader.get(0.05) is None
    for name in ("sales", "stock"):
        assert [text for text in found if name in str(text)] == [f"{name} {n}" for n in range(4)]


def test_closing_wakes_a_reader_that_waits(shop: Shop) -> None:
    reader = subscribe(shop, "sales")
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.extend(event.data for event in reader))
    thread.start()
    shop.publish("sales", 1)
    wait_until(lambda: seen == [1])
    reader.close()
    thread.join(60)
    assert not thread.is_alive()
    assert shop.engine.hub.readers == 0


def test_subscribing_raises_when_redis_is_away(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(ServerUnavailable):
        subscribe(shop, "sales")


def test_a_slow_reader_overflows_and_takes_the_rest_from_the_history(
    open_shop: Callable[..., Shop], redis_client: redis.Redis
) -> None:
    shop = open_shop(queue_length=4)
    with subscribe(shop, "sales", "stock") as reader:
        shop.publish("sales", 0)
        assert taken(reader, 1) == [0]
        for n in range(1, 61):  # the last one, after which nothing comes, may be the one too much
            shop.publish("sales", n)
            shop.publish("stock", -n)
        wait_until(lambda: reader.overflows > 0)
        found = [n for n in taken(reader, 120) if isinstance(n, int)]
        assert [n for n in found if n > 0] == list(range(1, 61))
        assert [-n for n in found if n < 0] == list(range(1, 61))
        shop.publish("sales", "live")
        assert taken(reader, 1) == ["live"]


def test_a_queue_is_bounded_in_bytes_too(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(queue_bytes=10000)
    with subscribe(shop, "sales") as reader:
        shop.publish("sales", 0)
        taken(reader, 1)
        for _ in range(3):
            shop.publish("sales", "x" * 4000)
        wait_until(lambda: reader.overflows > 0)
        assert taken(reader, 3) == ["x" * 4000] * 3


def test_who_stays_away_while_the_history_is_trimmed_gets_one_reset_and_then_goes_on(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(history_length=10, heartbeat=0.1)
    after = cursor(shop, "sales", "stock")
    for n in range(300):  # a stream is trimmed by whole nodes of about 100
        shop.publish("sales", n)
    shop.publish("stock", "kept")
    path = "/events?channel=sales&channel=stock"
    with serving(shop.app) as port, Browser(port, path, after) as browser:
        found = {content["type"]: content for content in browser.take(2)}
        assert found["reset"]["data"] == {"channel": "sales"}
        assert found["made"]["data"] == "kept"
        shop.publish("sales", "new")
        assert browser.take(1)[0]["data"] == "new"
        position = browser.last_event_id
        shop.close()
        assert browser.rest() == []
    with subscribe(shop, "sales", "stock", after=position) as reader:
        assert reader.get(0.05) is None


@pytest.mark.parametrize("kinds", [("history",), ("history", "meta")])
def test_who_stays_away_until_the_history_expires_gets_a_reset(
    shop: Shop, redis_client: redis.Redis, kinds: tuple[str, ...]
) -> None:
    shop.publish("sales", 0)
    after = cursor(shop, "sales")
    shop.publish("sales", 1)
    channel = shop.engine.channels.plain("sales")
    redis_client.delete(*(getattr(channel, kind) for kind in kinds))
    with subscribe(shop, "sales", after=after) as reader:
        assert taken(reader, 1) == ["reset sales"]
        shop.publish("sales", 2)
        assert taken(reader, 1) == [2]


def test_an_expired_history_without_missed_events_is_no_loss(
    shop: Shop, redis_client: redis.Redis
) -> None:
    shop.publish("sales", 0)
    after = cursor(shop, "sales")
    redis_client.delete(shop.engine.channels.plain("sales").history)
    with subscribe(shop, "sales", after=after) as reader:
        assert reader.get(0.1) is None
        shop.publish("sales", 1)
        assert taken(reader, 1) == [1]


def test_more_missed_events_than_the_replay_limit_are_a_reset(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(replay_limit=250, history_length=1000)
    after = cursor(shop, "sales")
    for n in range(250):
        shop.publish("sales", n)
    with subscribe(shop, "sales", after=after) as reader:
        assert taken(reader, 250) == list(range(250))
    shop.publish("sales", 250)
    with subscribe(shop, "sales", after=after) as reader:
        found = taken(reader, 201)  # two pages of a hundred had gone out already
        assert found == [*range(200), "reset sales"]
        shop.publish("sales", 251)
        assert taken(reader, 1) == [251]


def test_a_server_that_fell_back_to_an_older_state_gives_a_reset(
    shop: Shop, redis_client: redis.Redis
) -> None:
    shop.publish("sales", 0)
    old = {key: redis_client.dump(key) or b"" for key in redis_client.keys("*")}
    with subscribe(shop, "sales") as reader:
        lost = shop.publish("sales", "lost")
        assert taken(reader, 1) == ["lost"]
        wait_until(lambda: redis_client.time()[0] > int(lost.split("-")[0]) // 1000)
        for key, value in old.items():
            redis_client.restore(key, 60000, value, replace=True)
        shop.publish("sales", "other")
        assert taken(reader, 1) == ["reset sales"]
        shop.publish("sales", "new")
        assert taken(reader, 1) == ["new"]


def test_events_published_while_the_hub_was_away_are_replayed(
    shop: Shop, redis_client: redis.Redis
) -> None:
    with subscribe(shop, "sales") as reader:
        shop.publish("sales", 0)
        assert taken(reader, 1) == [0]
        hub_listener = shop.engine.hub._listener
        assert hub_listener is not None
        for n in range(1, 20):
            wait_until(lambda: kill_hub(redis_client))
            shop.publish("sales", n)
            assert taken(reader, 1) == [n]
            assert hub_listener._failures == 0  # so the pauses don't grow


def test_a_connection_that_went_silent_is_given_up_and_its_events_are_replayed(
    open_shop: Callable[..., Shop], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "IDLE", 0.1)
    through, direct = open_shop(proxy.url), open_shop()
    with subscribe(through, "sales") as reader:
        direct.publish("sales", 0)
        assert taken(reader, 1) == [0]
        connections = proxy.connections
        proxy.drop_replies()  # nothing breaks, nothing arrives
        direct.publish("sales", 1)
        wait_until(lambda: proxy.connections > connections)
        proxy.restore()
        assert taken(reader, 1) == [1]


def test_an_idle_connection_is_kept(
    open_shop: Callable[..., Shop], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "IDLE", 0.05)
    shop = open_shop(proxy.url)
    with subscribe(shop, "sales") as reader:
        shop.publish("sales", 0)
        assert taken(reader, 1) == [0]
        with proxy.counting() as count:
            wait_until(lambda: count.handshake_commands.count((b"PING",)) > 5)
        assert count.connections == 0
        assert proxy.open_connections == 2


def hears_large_events(url: str) -> None:
    shop = Shop(url, queue_length=1000, queue_bytes=10**8)
    with subscribe(shop, "sales") as reader:
        shop.publish("sales", "first")
        assert taken(reader, 1) == ["first"]
        texts = [str(n) * 50000 for n in range(1, 10)]
        for text in texts:
            shop.publish("sales", text)
        assert taken(reader, 9) == texts
        assert reader.overflows == 0
    shop.close()


def test_a_unix_socket_does_too(server: Server) -> None:
    hears_large_events(server.unix_url)


@pytest.mark.tls
def test_tls_does_too(tls_server: Server, certificates: Certificates) -> None:
    hears_large_events(f"{tls_server.url}?ssl_ca_certs={certificates.authority}")


def test_a_server_that_restarts_is_found_again(own_server: Callable[..., Server]) -> None:
    server = own_server(append_only=True)
    shop = Shop(server.url)
    with subscribe(shop, "sales") as reader:
        shop.publish("sales", 0)
        assert taken(reader, 1) == [0]
        server.kill()
        with pytest.raises(ServerUnavailable):
            shop.publish("sales", "never")
        server.start()
        wait_until(lambda: shop.engine.wire.connector.breaker.state == "closed")
        shop.publish("sales", 1)
        assert taken(reader, 1) == [1]
    shop.close()


@pytest.mark.parametrize("body", [b"no json", b"[1]", b'{"data":1}', b'{"type":"a\\nb"}', b"\xff"])
def test_a_damaged_event_is_skipped_with_one_warning(
    shop: Shop, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    after = cursor(shop, "sales")
    with caplog.at_level(logging.WARNING), serving(shop.app) as port:
        with (
            Browser(port, "/events?channel=sales") as live,
            Browser(port, "/events?channel=sales") as second,
        ):
            live.opened(), second.opened()
            wait_until(lambda: shop.engine.hub.readers == 2)
            publish_raw(shop, "sales", body)
            shop.publish("sales", "good")
            assert live.take(1)[0]["data"] == second.take(1)[0]["data"] == "good"
            shop.close()
        with Browser(port, "/events?channel=sales", after) as late:
            assert late.take(1)[0]["data"] == "good"
            shop.close()
    assert "damaged event" in caplog.text


def test_an_event_that_another_language_published_arrives_line_by_line(shop: Shop) -> None:
    body = json.dumps({"type": "made", "data": 1, "x": "\u2028"}, indent=1).encode()
    with serving(shop.app) as port, Browser(port, "/events?channel=sales") as browser:
        browser.opened()
        publish_raw(shop, "sales", body.replace(b"\n", b"\r\n"))
        event = browser.next()
        shop.close()
    assert event is not None
    assert event.content == {"type": "made", "data": 1, "x": "\u2028"}


def test_a_foreign_message_or_entry_does_no_harm(
    shop: Shop, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    channel = shop.engine.channels.plain("sales")
    with subscribe(shop, "sales") as reader, caplog.at_level(logging.WARNING):
        shop.publish("sales", 0)
        assert taken(reader, 1) == [0]
        redis_client.publish(channel.topic, "hello")
        redis_client.publish(channel.topic, b"\xff \xff \xff")
        shop.publish("sales", 1)
        assert taken(reader, 1) == [1]
        redis_client.xadd(channel.history, {"mine": "x"})
        shop.publish("sales", 2)
        assert taken(reader, 1) == [2]
        kill_hub(redis_client)
        shop.publish("sales", 3)
        assert taken(reader, 1) == [3]
    assert "foreign message" in caplog.text


def test_a_channel_that_cannot_be_read_does_not_stop_the_others(
    shop: Shop, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    after = cursor(shop, "sales", "stock")
    channel = shop.engine.channels.plain("sales")
    redis_client.set(channel.history, "mine", px=60000)
    with (
        subscribe(shop, "sales", "stock", after=after) as reader,
        caplog.at_level(logging.WARNING),
    ):
        for n in range(3):
            shop.publish("stock", n)
            assert taken(reader, 1) == [n]
        assert "can't read the events of sales" in caplog.text
        redis_client.delete(channel.history)
        shop.publish("sales", "cured")
        assert taken(reader, 1) == ["cured"]
