"""Streams over a real WSGI server: live, resumed, ended, and where they cannot stay open."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import redis
import waitress.server
from flask import Flask, Response
from waitress.channel import HTTPChannel

from flask_redis_kit import RedisKit
from tests.events.browser import Browser
from tests.events.shop import Shop, make_app, serving
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.waiting import wait_until


def subscribers(client: redis.Redis) -> dict[bytes | str, int]:
    """Pub/sub channels and how many connections listen to each."""
    return dict(client.pubsub_numsub(*client.pubsub_channels("frk:*")))


def listening(client: redis.Redis) -> list[object]:
    """The connections that listen to anything, but the Sentinels'."""
    found = client.client_list(_type="pubsub")
    return [each for each in found if not each["name"].startswith("sentinel-")]


def test_an_event_reaches_a_browser_by_the_channel_the_user_and_the_broadcast(shop: Shop) -> None:
    events = shop.kit.events
    with serving(shop.app) as port, Browser(port, "/events?user=42&channel=sales") as browser:
        browser.opened()
        with shop.app.app_context():
            events.publish("sales", "sold", {"n": 1})
            events.publish("other", "sold", {"n": 2})
            events.publish_to_user(42, "paid", {"n": 3})
            events.publish_to_user(43, "paid", {"n": 4})
            events.publish_broadcast("news", {"n": 5})
        received = {}
        for _ in range(3):
            event = browser.next()
            assert event is not None
            received[event.type] = event.content
        shop.close()
        assert browser.rest() == []
    assert {name: content["data"]["n"] for name, content in received.items()} == {
        "sold": 1,
        "paid": 3,
        "news": 5,
    }
    assert set(received["sold"]) == {"type", "data", "timestamp"}


def test_the_headers_keep_caches_proxies_and_compression_away(shop: Shop) -> None:
    with serving(shop.app) as port, Browser(port) as browser:
        headers = browser.response.headers
        assert browser.response.status == 200
        assert headers["Content-Type"].startswith("text/event-stream")
        assert headers["Cache-Control"] == "no-cache, no-transform"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["Content-Encoding"] == "identity"
        assert "Origin" in headers["Vary"]
        shop.close()


def test_a_silent_stream_says_where_it_is_and_sends_comments(shop: Shop) -> None:
    with serving(shop.app) as port, Browser(port) as browser:
        browser.opened()
        assert browser.last_event_id.startswith("v1;")
        assert browser.parser.retry is not None
        assert 2000 < browser.parser.retry < 4000
        comments = browser.parser.comments
        while browser.parser.comments < comments + 3:
            assert browser.read()
        shop.close()


@pytest.mark.parametrize("how", ["header", "parameter"])
def test_a_browser_that_comes_back_gets_what_it_missed_even_if_it_never_got_an_event(
    shop: Shop, how: str
) -> None:
    path = "/events?channel=sales&channel=stock"
    with serving(shop.app) as port:
        shop.publish("sales", "before")
        with Browser(port, path) as browser:
            position = browser.opened().last_event_id
        for n in range(5):
            shop.publish("sales", n)
            shop.publish("stock", -n)
        back = (
            Browser(port, path, position)
            if how == "header"
            else Browser(port, f"{path}&last_event_id={position}")
        )
        with back:
            found = [content["data"] for content in back.take(10)]
            shop.publish("stock", "live")
            assert back.take(1)[0]["data"] == "live"
        shop.close()
    assert [n for n in found if n > 0] == [1, 2, 3, 4]
    assert [-n for n in found if n < 0] == [1, 2, 3, 4]


def test_the_header_wins_over_the_parameter(shop: Shop) -> None:
    with serving(shop.app) as port:
        with shop.app.app_context():
            old = shop.kit.events.cursor(["sales"])
        shop.publish("sales", 1)
        with shop.app.app_context():
            new = shop.kit.events.cursor(["sales"])
        shop.publish("sales", 2)
        with Browser(port, f"/events?channel=sales&last_event_id={old}", new) as browser:
            assert browser.take(1)[0]["data"] == 2
        shop.close()


@pytest.mark.parametrize("given", ["42", "v1;zzz", "v1;00000000=1-1;00000000=1-1", "x" * 3000])
def test_a_malformed_position_gives_a_reset_of_every_channel_and_then_live_events(
    shop: Shop, given: str
) -> None:
    shop.publish("sales", "old")
    with (
        serving(shop.app) as port,
        Browser(port, "/events?user=42&channel=sales", given) as browser,
    ):
        resets = browser.take(3)
        assert {content["type"] for content in resets} == {"reset"}
        assert {content["data"]["channel"] for content in resets} == {
            "sales",
            "user~42",
            "broadcast~",
        }
        shop.publish("sales", "new")
        assert browser.take(1)[0]["data"] == "new"
        shop.close()


def test_a_channel_that_the_position_does_not_name_begins_at_now(shop: Shop) -> None:
    with shop.app.app_context():
        position = shop.kit.events.cursor(["sales"])
    shop.publish("stock", "old")
    shop.publish("sales", "missed")
    path = "/events?channel=sales&channel=stock"
    with serving(shop.app) as port, Browser(port, path, position) as browser:
        assert browser.take(1)[0]["data"] == "missed"
        shop.publish("stock", "new")
        assert browser.take(1)[0]["data"] == "new"
        shop.close()


def test_a_cursor_in_a_page_bridges_to_its_stream_and_costs_one_trip(
    open_shop: Callable[..., Shop], proxy: Proxy
) -> None:
    shop = open_shop(proxy.url, heartbeat=0.1)
    shop.publish("sales", "before")
    with shop.app.app_context():
        shop.kit.events.cursor(["sales"])  # the server learns the script
        with proxy.counting() as count:
            cursor = shop.kit.events.cursor(["sales", "stock"], user=42)
    assert count.trips == 1
    shop.publish("sales", "between")
    path = f"/events?channel=sales&last_event_id={cursor}"
    with serving(shop.app) as port, Browser(port, path) as browser:
        assert browser.take(1)[0]["data"] == "between"
        shop.close()


def test_streams_of_a_process_share_one_connection(shop: Shop, redis_client: redis.Redis) -> None:
    with serving(shop.app) as port, ExitStack() as stack:
        browsers = [
            stack.enter_context(Browser(port, f"/events?user={n}&channel=sales")).opened()
            for n in range(20)
        ]
        wait_until(lambda: len(subscribers(redis_client)) == 22)
        assert set(subscribers(redis_client).values()) == {1}
        assert len(listening(redis_client)) == 1
        shop.publish("sales", 1)
        assert [browser.take(1)[0]["data"] for browser in browsers] == [1] * 20
        shop.close()


def test_when_the_browsers_are_gone_nothing_is_subscribed(
    shop: Shop, redis_client: redis.Redis
) -> None:
    with serving(shop.app) as port:
        browsers = [Browser(port, f"/events?user={n}&channel=sales").opened() for n in range(5)]
        wait_until(lambda: len(subscribers(redis_client)) == 7)
        for browser in browsers[:4]:
            browser.close()
        wait_until(lambda: len(subscribers(redis_client)) == 3)
        browsers[4].close()
        wait_until(lambda: not subscribers(redis_client))
        wait_until(lambda: shop.engine.hub.readers == 0)


def test_waitress_notices_a_browser_that_is_gone(shop: Shop, redis_client: redis.Redis) -> None:
    server = waitress.server.create_server(shop.app, host="127.0.0.1", port=0, threads=4)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with Browser(server.effective_port, "/events?channel=sales") as browser:
            browser.opened()
            shop.publish("sales", 1)
            assert browser.take(1)[0]["data"] == 1
            assert subscribers(redis_client)
        wait_until(lambda: not subscribers(redis_client))
    finally:
        server.pull_trigger()
        server.close()
        server.task_dispatcher.shutdown()
        for channel in list(server.active_channels.values()):
            assert isinstance(channel, HTTPChannel)
            channel.handle_close()
        thread.join()


def test_closing_the_kit_ends_every_stream_the_thread_and_the_connection(
    open_shop: Callable[..., Shop], redis_client: redis.Redis
) -> None:
    shop = open_shop()  # a heartbeat of 15 s: they must be woken
    with serving(shop.app) as port, ExitStack() as stack:
        browsers = [stack.enter_context(Browser(port)).opened() for _ in range(5)]
        wait_until(lambda: subscribers(redis_client))
        shop.close()
        assert [browser.rest() for browser in browsers] == [[]] * 5
    assert "redis-kit-events" not in {thread.name for thread in threading.enumerate()}
    wait_until(lambda: not listening(redis_client))


def test_after_a_close_a_new_stream_starts_anew(shop: Shop) -> None:
    with serving(shop.app) as port:
        with Browser(port, "/events?channel=sales") as browser:
            position = browser.opened().last_event_id
            shop.close()
            assert browser.rest() == []
        with Browser(port, "/events?channel=sales", position) as browser:
            shop.publish("sales", 1)
            assert browser.take(1)[0]["data"] == 1
            shop.close()


def test_a_stream_ends_at_its_age_and_is_resumed(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(stream_max_age=0.3)
    with serving(shop.app) as port:
        with Browser(port, "/events?channel=sales") as browser:
            assert browser.rest() == []
        shop.publish("sales", 1)
        with Browser(port, "/events?channel=sales", browser.last_event_id) as again:
            assert [event.content["data"] for event in again.rest()] == [1]
        assert shop.engine.hub.readers == 0


def test_head_gives_the_headers_without_a_stream_or_a_command(
    open_shop: Callable[..., Shop], proxy: Proxy
) -> None:
    shop = open_shop(proxy.url)
    with serving(shop.app) as port, Browser(port, method="HEAD") as browser:
        assert browser.response.status == 200
        assert browser.response.headers["Content-Type"].startswith("text/event-stream")
        assert browser.rest() == []
    assert proxy.trips == 0


def test_a_body_that_is_never_started_leaves_nothing_behind(shop: Shop) -> None:
    with shop.app.test_request_context(environ_overrides={"wsgi.multithread": True}):
        response = shop.kit.events.stream(channels=["sales"])
        assert shop.engine.hub.readers == 0
        with pytest.raises(RuntimeError):
            response.get_data()  # instead of waiting for ever
        response.close()


def test_a_server_with_one_thread_gets_short_answers_that_miss_nothing(shop: Shop) -> None:
    with serving(shop.app, threaded=False) as port:
        position, found = None, []
        for round_ in range(5):
            with Browser(port, "/events?channel=sales", position) as browser:
                found += [event.content["data"] for event in browser.rest()]
                position = browser.last_event_id
                assert browser.parser.retry
            with Browser(port, "/other") as other:
                assert other.response.read() == b"here"
            for n in range(3):
                shop.publish("sales", round_ * 3 + n)
    assert found == list(range(12))
    assert shop.engine.hub.readers == 0
    assert "redis-kit-events" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("threaded", [True, False])
def test_a_stream_that_begins_while_redis_is_away_is_no_error_and_is_reset_later(
    own_server: Callable[..., Server], open_shop: Callable[..., Shop], threaded: bool
) -> None:
    server = own_server()
    shop = open_shop(server.url, heartbeat=0.1)
    server.kill()
    with serving(shop.app, threaded=threaded) as port:
        with Browser(port, "/events?channel=sales") as browser:
            assert browser.response.status == 200
            if threaded:
                assert browser.read()
                server.start()
                assert [c["type"] for c in browser.take(2)] == ["reset", "reset"]
                wait_until(lambda: shop.engine.wire.connector.breaker.state == "closed")
                shop.publish("sales", 1)
                assert browser.take(1)[0]["data"] == 1
                assert browser.last_event_id
            else:
                assert browser.rest() == []
                assert not browser.last_event_id
        shop.close()


def test_two_namespaces_on_one_server_do_not_swap_their_users_events(
    open_shop: Callable[..., Shop],
) -> None:
    one, two = open_shop(name="one", heartbeat=0.1), open_shop(name="two", heartbeat=0.1)
    with ExitStack() as stack:
        ports = [stack.enter_context(serving(shop.app)) for shop in (one, two)]
        first, second = (
            stack.enter_context(Browser(port, "/events?user=42")).opened() for port in ports
        )
        for shop in (one, two):
            with shop.app.app_context():
                shop.kit.events.publish_to_user(42, "made", shop.app.name)
        assert first.take(1)[0]["data"] == "one"
        assert second.take(1)[0]["data"] == "two"
        for shop in (one, two):
            shop.close()
        assert first.rest() == second.rest() == []


def test_two_applications_of_one_kit_have_their_own_settings_and_hubs(server: Server) -> None:
    kit = RedisKit(features=("events",))
    small = make_app(server.url, kit, "small", payload_limit=100, heartbeat=0.1)
    large = make_app(server.url, kit, "large", heartbeat=0.1)
    with large.app_context():
        kit.events.publish("sales", "made", "x" * 200)
        kit.events.subscribe(["sales"]).close()
    with small.app_context():
        with pytest.raises(ValueError, match="100 are allowed"):
            kit.events.publish("sales", "made", "x" * 200)
        with kit.events.subscribe(["sales"]) as events:
            kit.close()
            assert events.get(5) is None
    for app in (small, large):
        with app.app_context():
            kit.close()


def test_what_was_published_is_what_arrives(shop: Shop) -> None:
    nasty = [
        "",
        "\r",
        "\n",
        "a\r\n\r\ndata: b\r\n\r\n",
        "\0",
        "\u2028\u2029\x85",
        "</script>",
        "😀",
    ]
    with serving(shop.app) as port, Browser(port, "/events?channel=sales") as browser:
        browser.opened()
        for text in nasty:
            shop.publish("sales", {"text": text})
        assert [content["data"]["text"] for content in browser.take(len(nasty))] == nasty
        shop.close()


def test_a_view_may_be_async_and_add_a_header(server: Server) -> None:
    app = Flask("shop")
    app.config["REDIS_URL"] = server.url
    kit = RedisKit(app, features=("events",))

    @app.get("/events")
    async def events() -> Response:
        response = kit.events.stream(channels=["sales"])
        response.headers["X-Mine"] = "yes"
        return response

    with serving(app) as port, Browser(port) as browser:
        browser.opened()
        assert browser.response.headers["X-Mine"] == "yes"
        with app.app_context():
            kit.events.publish("sales", "made", 1)
            assert browser.take(1)[0]["data"] == 1
            kit.close()
