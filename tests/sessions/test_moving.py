"""Nobody is logged out by the move from Flask-Session, also while old workers still run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest
import redis
from flask import Flask, session

from flask_redis_kit import ConfigError, RedisKit, RedisSessionInterface
from flask_redis_kit.core.exchange import Outcome
from flask_redis_kit.sessions import signals
from flask_redis_kit.sessions.ids import digest_of
from tests.harness.proxy import Proxy
from tests.sessions.peer import Browser, new_worker, old_worker
from tests.sessions.shop import Shop, add_simple_views
from tests.waiting import wait_until

pytestmark = pytest.mark.standalone("Flask-Session takes no client of a Cluster")

Old = Callable[..., Flask]
New = Callable[..., Shop]


@pytest.fixture
def old(redis_url: str) -> Iterator[Old]:
    clients: list[redis.Redis] = []

    def make(**config: Any) -> Flask:
        app, client = old_worker(redis_url, **config)
        clients.append(client)
        return app

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def new(redis_url: str) -> Iterator[New]:
    shops: list[Shop] = []

    def make(url: str = redis_url, **config: Any) -> Shop:
        shops.append(new_worker(url, **config))
        return shops[-1]

    yield make
    for shop in shops:
        with shop.app.app_context():
            shop.kit.close()


def everything(app: Flask, browser: Browser) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(browser.get(app, "/all"))
    found.pop("_permanent", None)
    return found


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"SESSION_SERIALIZATION_FORMAT": "json"},
        {"SESSION_USE_SIGNER": True},
        {"SESSION_ID_LENGTH": 16},
        {"SESSION_KEY_PREFIX": "shop:sess:"},
        {"SESSION_COOKIE_NAME": "session", "SESSION_PERMANENT": False},
    ],
)
def test_who_was_logged_in_stays_logged_in(old: Old, new: New, config: dict[str, Any]) -> None:
    browser, before, after = Browser(), old(**config), new(**config)
    browser.get(before, "/login/7")
    browser.get(before, "/set/theme/dark")
    cookie = browser.cookie
    assert everything(after.app, browser) == {"user_id": "7", "theme": "dark"}
    assert browser.cookie == cookie
    browser.get(after.app, "/set/theme/light")
    assert everything(after.app, browser) == {"user_id": "7", "theme": "light"}
    with after.app.app_context():
        (info,) = after.kit.sessions.list("7")
        sid = cookie.partition(".")[0]
        assert info.handle == digest_of(sid)


def test_the_format_may_have_been_changed_in_between(old: Old, new: New) -> None:
    browser = Browser()
    browser.get(old(SESSION_SERIALIZATION_FORMAT="json"), "/login/7")
    assert everything(new().app, browser) == {"user_id": "7"}


def test_a_signature_with_an_older_key_is_accepted_and_replaced_at_the_next_login(
    old: Old, new: New
) -> None:
    browser = Browser()
    browser.get(old(SESSION_USE_SIGNER=True), "/login/7")
    after = new(SESSION_USE_SIGNER=True, SECRET_KEY_FALLBACKS=["secret"])
    after.app.secret_key = "another"
    assert everything(after.app, browser) == {"user_id": "7"}
    browser.get(after.app, "/login/8")
    only_new = new(SESSION_USE_SIGNER=True)
    only_new.app.secret_key = "another"
    assert everything(only_new.app, browser) == {"user_id": "8"}


def test_keys_given_as_one_string_are_refused(new: New) -> None:
    with pytest.raises(ConfigError, match="SECRET_KEY_FALLBACKS must be a list"):
        new(SESSION_USE_SIGNER=True, SECRET_KEY_FALLBACKS="secret")


def test_a_session_moves_once_and_without_an_own_look_afterwards(
    old: Old, new: New, proxy: Proxy
) -> None:
    browser = Browser()
    browser.get(old(), "/set/a/1")
    after = new(proxy.url)
    with proxy.counting() as moving:
        browser.get(after.app, "/get/a")
    assert moving.trips <= 4  # two, and two where the scripts are unknown
    with proxy.counting() as count:
        assert browser.get(after.app, "/get/a") == "1"
    assert count.trips == 1
    with proxy.counting() as count:
        browser.get(after.app, "/untouched")
    assert count.trips == 0


def test_what_flask_session_has_stays_for_a_while(
    old: Old, new: New, redis_client: redis.Redis
) -> None:
    browser, before, after = Browser(), old(), new(SESSION_LEGACY_GRACE=300)
    browser.get(before, "/login/7")
    browser.get(after.app, "/all")
    assert 0 < redis_client.ttl(f"session:{browser.cookie}") <= 300
    assert everything(before, browser) == {"user_id": "7"}
    assert redis_client.ttl(f"session:{browser.cookie}") > 300  # it stores what it has read
    assert everything(after.app, browser) == {"user_id": "7"}
    assert redis_client.ttl(f"session:{browser.cookie}") <= 300


def test_what_old_workers_write_meanwhile_is_taken_over(old: Old, new: New) -> None:
    browser, before, after = Browser(), old(), new()
    for key in "abc":
        browser.get(before, f"/set/{key}/old")
    browser.get(after.app, "/set/b/new")
    browser.get(after.app, "/set/mine/new")
    browser.get(before, "/set/c/newest")
    browser.get(before, "/pop/a")
    browser.get(before, "/set/d/another")
    expected = {"b": "new", "c": "newest", "d": "another", "mine": "new"}
    assert everything(after.app, browser) == expected
    browser.get(after.app, "/set/c/mine")
    assert everything(after.app, browser) == expected | {"c": "mine"}


def test_a_login_at_an_old_worker_counts_at_the_new_ones(old: Old, new: New) -> None:
    browser, before, after = Browser(), old(), new()
    browser.get(before, "/set/cart/full")
    browser.get(after.app, "/all")
    browser.get(before, "/login/7")
    assert everything(after.app, browser) == {"cart": "full", "user_id": "7"}
    with after.app.app_context():
        assert len(after.kit.sessions.list("7")) == 1


def test_a_logout_at_an_old_worker_counts_at_the_new_ones(old: Old, new: New) -> None:
    browser, before, after = Browser(), old(), new()
    browser.get(before, "/login/7")
    browser.get(after.app, "/all")
    cookie = browser.cookie
    browser.get(before, "/pop/user_id")
    browser.cookie = cookie
    assert everything(after.app, browser) == {}
    assert everything(after.app, browser) == {}
    with after.app.app_context():
        assert after.kit.sessions.list("7") == []


@pytest.mark.parametrize("way", ["/clear", "/read-and-clear", "/pop/user_id"])
def test_a_logout_is_one_for_old_workers_too(
    old: Old, new: New, redis_client: redis.Redis, way: str
) -> None:
    browser, before, after = Browser(), old(), new()
    browser.get(before, "/login/7")
    browser.get(after.app, "/all")
    cookie = browser.cookie
    browser.get(after.app, way)
    assert not redis_client.exists(f"session:{cookie}")
    browser.cookie = cookie
    assert everything(before, browser) == {}


def test_who_logs_out_without_a_look_before_is_logged_out(
    old: Old, new: New, redis_client: redis.Redis
) -> None:
    browser, before, after = Browser(), old(), new()
    browser.get(before, "/login/7")
    cookie = browser.cookie
    browser.get(after.app, "/clear")
    assert browser.cookie == ""
    assert not redis_client.exists(f"session:{cookie}")
    browser.cookie = cookie
    assert everything(after.app, browser) == {}


def test_an_old_worker_that_was_slow_brings_no_logout_back(
    old: Old, new: New, redis_client: redis.Redis
) -> None:
    browser, before, after = Browser(), old(), new()
    browser.get(before, "/login/7")
    browser.get(after.app, "/all")
    cookie = browser.cookie
    stored: Any = redis_client.get(f"session:{cookie}")
    browser.get(after.app, "/clear")
    redis_client.set(f"session:{cookie}", stored, ex=31 * 86400)  # what the slow one does
    browser.cookie = cookie
    assert everything(after.app, browser) == {}
    assert not redis_client.exists(f"session:{cookie}")
    key = after.key(cookie)
    assert redis_client.ttl(key) > 30 * 86400  # the tombstone outlives what might be left


def test_a_login_at_a_new_worker_ends_the_old_id_everywhere(
    old: Old, new: New, redis_client: redis.Redis
) -> None:
    browser, before, after = Browser(), old(), new()
    browser.get(before, "/set/cart/full")
    cookie = browser.cookie
    browser.get(after.app, "/login/7")
    assert browser.cookie != cookie
    assert everything(after.app, browser) == {"cart": "full", "user_id": "7"}
    assert not redis_client.exists(f"session:{cookie}")


def test_sixteen_requests_at_once_move_a_session_once(old: Old, new: New) -> None:
    after = new()
    adopted: list[str] = []

    def hear(_: object, session: str, **__: object) -> None:
        adopted.append(session)

    with signals.session_adopted.connected_to(hear):
        for _ in range(10):
            browser, barrier, seen = Browser(), threading.Barrier(16), list[str]()
            browser.get(old(), "/login/7")
            adopted.clear()

            def ask(cookie: str = browser.cookie, seen: Any = seen, barrier: Any = barrier) -> None:
                one = Browser()
                one.cookie = cookie
                barrier.wait()
                seen.append(one.get(after.app, "/get/user_id"))

            threads = [threading.Thread(target=ask) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert seen == ["7"] * 16
            assert adopted == [digest_of(browser.cookie)]


def test_what_is_unreadable_is_no_session_and_no_error(new: New, redis_client: redis.Redis) -> None:
    after = new()
    browser = Browser()
    for n, stored in enumerate((b"\xff\xfe", b"\x80\x04}.", b"[1]")):
        browser.cookie = f"{n}" * 43
        redis_client.set(f"session:{browser.cookie}", stored, ex=60)
        assert everything(after.app, browser) == {}
    redis_client.sadd("session:" + "s" * 43, "x")
    browser.cookie = "s" * 43
    assert everything(after.app, browser) == {}


def test_a_cookie_cannot_reach_the_kits_own_keys(new: New, redis_client: redis.Redis) -> None:
    after = new(SESSION_KEY_PREFIX="a")
    other = "another:program:s:value"
    redis_client.set(other, b"\x81\xa7user_id\xa17", ex=60)
    browser = Browser()
    browser.cookie = other[1:]
    assert everything(after.app, browser) == {}


def test_who_is_logged_out_of_a_session_is_not_listed_with_it(old: Old, new: New) -> None:
    browser, before, after = Browser(), old(), new()
    browser.get(before, "/login/7")
    browser.get(before, "/set/theme/dark")
    browser.get(after.app, "/all")
    browser.get(before, "/pop/user_id")
    assert everything(after.app, browser) == {"theme": "dark"}
    with after.app.app_context():
        assert after.kit.sessions.list("7") == []
    browser.get(before, "/login/8")
    browser.get(after.app, "/all")
    browser.get(before, "/login/9")
    browser.get(after.app, "/all")
    with after.app.app_context():
        assert after.kit.sessions.revoke_user("8") == 0
        assert after.kit.sessions.revoke_user("9") == 1


def test_the_end_of_what_flask_session_has_is_no_logout(
    old: Old, new: New, redis_client: redis.Redis
) -> None:
    browser = Browser()
    browser.get(old(PERMANENT_SESSION_LIFETIME=120), "/login/7")
    after = new(PERMANENT_SESSION_LIFETIME=120)
    redis_client.expire(f"session:{browser.cookie}", 4)  # it was not used for long
    browser.get(after.app, "/set/used/now")  # … but here it is
    wait_until(lambda: not redis_client.exists(f"session:{browser.cookie}"))
    assert everything(after.app, browser) == {"user_id": "7", "used": "now"}


def test_a_server_too_full_to_take_a_session_over_does_not_lose_it(
    old: Old, new: New, redis_client: redis.Redis
) -> None:
    browser, after = Browser(), new()
    browser.get(old(), "/login/7")
    redis_client.config_set("maxmemory", 1)
    try:
        assert after.visitor(browser.cookie).get("/get/user_id").status_code == 503
    finally:
        redis_client.config_set("maxmemory", 0)
    assert redis_client.ttl(f"session:{browser.cookie}") > 600
    assert everything(after.app, browser) == {"user_id": "7"}


@pytest.mark.parametrize("way", ["revoked", "/clear", "/pop/user_id", "/login/8"])
def test_an_end_outlives_what_an_old_worker_has_stored_again(
    old: Old, new: New, redis_client: redis.Redis, way: str
) -> None:
    browser, before, after = Browser(), old(), new()
    browser.get(before, "/login/7")
    browser.get(after.app, "/all")
    browser.get(before, "/all")  # stored for 31 days again
    cookie = browser.cookie
    lives = redis_client.ttl(f"session:{cookie}")
    if way == "revoked":
        with after.app.app_context():
            assert after.kit.sessions.revoke_user("7") == 1
    else:
        browser.get(after.app, way)
    assert redis_client.ttl(after.key(cookie)) >= lives
    after.visitor(cookie).get("/clear")  # ending it once more shortens nothing
    assert redis_client.ttl(after.key(cookie)) >= lives


def test_an_id_that_was_replaced_is_silent_for_a_minute_only(
    old: Old, new: New, redis_client: redis.Redis
) -> None:
    browser, before, after = Browser(), old(), new()
    browser.get(before, "/login/7")
    cookie = browser.cookie
    browser.get(after.app, "/login/8")
    late = after.visitor(cookie)
    assert "Set-Cookie" not in late.get("/set/theme/dark").headers
    long_ago = b"r%d00000000" % int((time.time() - 61) * 1e6)
    redis_client.hset(after.key(cookie), "\0x", long_ago)
    assert "Set-Cookie" in late.get("/set/theme/dark").headers


def test_a_login_in_the_middle_of_a_look_is_no_logout_at_an_old_worker(old: Old, new: New) -> None:
    browser, after = Browser(), new()
    browser.get(old(), "/set/theme/dark")
    browser.get(after.app, "/all")
    cookie = browser.cookie
    with after.app.app_context():
        store, send = after.kit.sessions.engine(), after.kit.sessions.context().send_many
        seen = send([store.load(digest_of(cookie))])[0].result()
        browser.get(after.app, "/login/7")  # ends the old id, and what Flask-Session had of it
        assert store.predecessor is not None
        found = store.predecessor.settle(send, cookie, seen, Outcome(None))
        assert found.rotated
    assert "Set-Cookie" not in after.visitor(cookie).get("/set/theme/light").headers


def test_what_was_taken_over_already_overwrites_nothing_later(old: Old, new: New) -> None:
    browser, before, after = Browser(), old(), new()
    browser.get(before, "/set/theme/dark")
    browser.get(after.app, "/all")
    cookie = browser.cookie
    browser.get(before, "/set/theme/light")
    with after.app.app_context():
        store, send = after.kit.sessions.engine(), after.kit.sessions.context().send_many
        assert store.predecessor is not None
        looks = [store.load(digest_of(cookie)), store.predecessor.load(cookie)]
        seen, left = send(looks)
        browser.get(after.app, "/set/theme/mine")  # takes it over, and writes
        found = store.predecessor.settle(send, cookie, seen.result(), left)
        assert store.codec.decode(found.fields["theme"]) == "mine"
    assert everything(after.app, browser) == {"theme": "mine"}


@pytest.mark.parametrize("limit", ["SESSION_IDLE_TIMEOUT", "SESSION_ABSOLUTE_TIMEOUT"])
def test_what_flask_session_has_brings_back_no_session_whose_time_is_over(
    old: Old, new: New, redis_client: redis.Redis, limit: str
) -> None:
    browser, after = Browser(), new(**{limit: 100})
    browser.get(old(), "/login/7")
    assert everything(after.app, browser) == {"user_id": "7"}
    assert redis_client.ttl(after.key(browser.cookie)) <= 100
    assert 0 < redis_client.ttl(f"session:{browser.cookie}") <= 100


def test_the_copy_of_a_moved_session_is_not_kept(
    old: Old, new: New, redis_client: redis.Redis
) -> None:
    browser, after = Browser(), new()
    browser.get(old(), "/set/blob/" + 50_000 * "x")
    browser.get(after.app, "/get/a")
    stored: Any = redis_client.hgetall(after.key(browser.cookie))
    assert sum(map(len, stored.values())) < 51_000


def test_what_the_kit_can_not_store_is_absent(new: New, redis_client: redis.Redis) -> None:
    after, browser = new(), Browser()
    browser.cookie = 43 * "e"
    deep = msgspec.json.decode(b"[" * 900 + b"]" * 900)
    blob = {"ext": msgspec.msgpack.Ext(5, b"x"), "deep": deep, "a": 1, "\0c": "ours"}
    redis_client.set("session:" + browser.cookie, msgspec.msgpack.encode(blob), ex=100)
    assert everything(after.app, browser) == {"a": 1}
    assert everything(after.app, browser) == {"a": 1}


@pytest.mark.parametrize("way", ["exclusive", "reload"])
def test_every_way_to_load_a_session_finds_it(old: Old, new: New, way: str) -> None:
    browser, after = Browser(), new()
    browser.get(old(), "/login/7")
    cookie = browser.cookie

    @after.app.get("/reload")
    def reload() -> str:
        session.reload()  # type: ignore[attr-defined]  # a RedisSession
        return str(session.get("user_id"))

    @after.app.get("/exclusive")
    @after.kit.sessions.exclusive()
    def exclusive() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session.get("user_id"))

    assert browser.get(after.app, f"/{way}") == "7"
    assert browser.cookie == cookie


def test_a_server_that_is_away_is_no_logout(old: Old, new: New, proxy: Proxy) -> None:
    browser, after = Browser(), new(proxy.url, REDIS_SOCKET_TIMEOUT=0.2)
    browser.get(old(), "/login/7")
    proxy.cut()
    proxy.refuse()
    client = after.visitor(browser.cookie)
    assert client.get("/get/user_id").status_code == 503
    proxy.restore()

    def answer() -> tuple[int, str]:
        response = client.get("/get/user_id")
        return response.status_code, response.text

    wait_until(lambda: answer() == (200, "7"))


def test_without_flask_sessions_setting_nothing_is_looked_for(
    old: Old, new: New, proxy: Proxy
) -> None:
    browser = Browser()
    browser.get(old(), "/login/7")
    for config in ({"SESSION_TYPE": None}, {"SESSION_LEGACY": False}):
        after = new(proxy.url, **config)
        with proxy.counting() as count:
            assert everything(after.app, browser) == {}
        assert [command[0] for command in count.commands] == [b"HGETALL", b"PTTL"]


def test_a_setting_that_can_not_be_right_is_refused(new: New) -> None:
    with pytest.raises(ConfigError, match="SESSION_SERIALIZATION_FORMAT"):
        new(SESSION_SERIALIZATION_FORMAT="pickle")
    with pytest.raises(ConfigError, match="SESSION_LEGACY_GRACE"):
        new(SESSION_LEGACY_GRACE=0)
    with pytest.raises(ConfigError, match="SESSION_BACKEND"):
        new(SESSION_BACKEND="memcached")


class Sealed:
    """A serializer of an application's own, as Flask-Session lets it have one."""

    def encode(self, fields: Mapping[str, Any]) -> bytes:
        return b"sealed:" + json.dumps(dict(fields)).encode()[::-1]

    def decode(self, stored: bytes) -> Any:
        if not stored.startswith(b"sealed:"):
            raise KeyError("no seal")
        return json.loads(stored[7:][::-1])


class SealedLater(Sealed):
    """The same, by the names that the method has after Flask-Session 0.8."""

    decode = None  # type: ignore[assignment]  # it has none
    loads = Sealed.decode


@pytest.mark.parametrize("serializer", [Sealed(), SealedLater()])
@pytest.mark.parametrize("way", ["request", "migrate"])
def test_what_a_serializer_of_the_application_wrote_is_read_by_it_alone(
    old: Old, new: New, redis_client: redis.Redis, serializer: Sealed, way: str
) -> None:
    before, after, browser = old(), new(), Browser()
    before.session_interface.serializer = Sealed()  # type: ignore[attr-defined]
    after.app.session_interface.serializer = serializer  # type: ignore[attr-defined]
    browser.get(before, "/login/7")
    assert redis_client.getrange(f"session:{browser.cookie}", 0, 6) == b"sealed:"
    if way == "migrate":
        words = ["redis", "sessions", "migrate"]
        assert "1 moved" in after.app.test_cli_runner().invoke(args=words).output
    assert everything(after.app, browser) == {"user_id": "7"}
    forged = Browser()
    forged.cookie = "f" * 43
    redis_client.set(f"session:{forged.cookie}", msgspec.msgpack.encode({"user_id": "1"}), ex=60)
    assert everything(after.app, forged) == {}


def test_flask_session_s_own_interface_has_the_application_s_serializer(old: Old, new: New) -> None:
    before, after, browser = old(), new(SESSION_BACKEND="flask-session"), Browser()
    for app in (before, after.app):
        app.session_interface.serializer = Sealed()  # type: ignore[attr-defined]
    browser.get(before, "/login/7")
    browser.get(after.app, "/set/theme/dark")
    assert everything(before, browser) == {"user_id": "7", "theme": "dark"}


def test_a_serializer_that_can_not_read_is_refused(new: New) -> None:
    shop = new()
    shop.app.testing = True
    shop.app.session_interface.serializer = object()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"serializer = .* needs a method decode\(\), or loads"):
        shop.visitor().get("/untouched")


def test_flask_s_own_serializer_of_cookies_is_none_of_sessions(
    redis_url: str, redis_client: redis.Redis
) -> None:
    app = Flask("moving")
    app.config.update(REDIS_URL=redis_url, SESSION_TYPE="redis")
    kit = RedisKit(app, features=("sessions",))
    redis_client.set("session:" + "s" * 43, msgspec.msgpack.encode({"user_id": "7"}), ex=60)
    words = ["redis", "sessions", "migrate"]
    assert "1 moved" in app.test_cli_runner().invoke(args=words).output
    with app.app_context():
        assert len(kit.sessions.list("7")) == 1
        kit.close()


@pytest.mark.parametrize("path", ["/clear", "/read-and-clear", "/all", "/untouched"])
@pytest.mark.parametrize("backend", ["redis", "flask-session"])
def test_an_empty_prefix_is_refused_before_a_cookie_can_name_another_program_s_key(
    new: New, redis_client: redis.Redis, backend: str, path: str
) -> None:
    orders, profile = "orders-waiting-for-payment", "profile-of-user-number-one"
    redis_client.hset(orders, "7", "a pen")
    redis_client.set(profile, b'{"user_id": 1}')
    shop = new(SESSION_KEY_PREFIX="", SESSION_BACKEND=backend)
    shop.app.testing = True
    for name in (orders, profile):
        with pytest.raises(ConfigError, match=r"SESSION_KEY_PREFIX is empty.* Set "):
            shop.visitor(name).get(path)
    assert redis_client.hgetall(orders) == {b"7": b"a pen"}
    assert redis_client.ttl(profile) == -1
    redis_client.delete(orders, profile)


def test_what_was_used_before_the_interface_was_set_looks_for_nothing_without_a_prefix(
    redis_url: str, redis_client: redis.Redis
) -> None:
    orders = "orders-waiting-for-payment"
    redis_client.hset(orders, "7", "a pen")
    app = Flask("early")
    app.config.update(REDIS_URL=redis_url, SESSION_TYPE="redis", SESSION_KEY_PREFIX="")
    kit = RedisKit(app, features=("sessions",))  # Flask-Session's own interface may be the one
    with app.app_context():
        assert kit.sessions.list("7") == []
    app.session_interface = RedisSessionInterface(kit)
    add_simple_views(app)
    client = app.test_client()
    client.set_cookie("session", orders)
    assert client.get("/clear").status_code == 200
    assert redis_client.hgetall(orders) == {b"7": b"a pen"}
    redis_client.delete(orders)
    with app.app_context():
        kit.close()


def test_without_a_prefix_all_can_be_moved_at_once(old: Old, new: New) -> None:
    browser, before = Browser(), old(SESSION_KEY_PREFIX="")
    browser.get(before, "/login/7")
    cookie, after = browser.cookie, new(SESSION_KEY_PREFIX="", SESSION_LEGACY=False)
    words = ["redis", "sessions", "migrate", "--yes"]
    assert "1 moved" in after.app.test_cli_runner().invoke(args=words).output
    assert everything(after.app, browser) == {"user_id": "7"}
    assert browser.cookie == cookie


def test_a_logout_leaves_a_key_of_another_type(new: New, redis_client: redis.Redis) -> None:
    sid = "s" * 43
    redis_client.sadd(f"session:{sid}", "of another program")
    for path in ("/clear", "/read-and-clear"):
        assert new().visitor(sid).get(path).status_code == 200
    assert redis_client.smembers(f"session:{sid}") == {b"of another program"}
    redis_client.delete(f"session:{sid}")


@pytest.mark.parametrize("backend", ["redis", "flask-session"])
def test_a_signer_without_a_key_is_found_at_the_first_request(new: New, backend: str) -> None:
    shop = new(SESSION_USE_SIGNER=True, SESSION_BACKEND=backend)  # what sets the key comes later
    shop.app.secret_key = None
    shop.app.testing = True
    with pytest.raises(ConfigError, match="SESSION_USE_SIGNER=True needs a SECRET_KEY"):
        shop.visitor().get("/untouched")
    shop.app.secret_key = "found"
    assert shop.visitor().get("/set/a/1").status_code == 200


def test_sessions_that_lie_in_another_kind_of_store_are_warned_of(
    new: New, caplog: pytest.LogCaptureFixture
) -> None:
    for kind, expected in (("filesystem", 1), ("redis", 0), (None, 0)):
        caplog.clear()
        new(SESSION_TYPE=kind).visitor().get("/untouched")
        assert caplog.text.count("everybody logs in once more") == expected


def test_sessions_on_another_server_are_warned_of(
    new: New, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    for url, expected in ((proxy.url, 0), (proxy.url.replace("/0", "/1"), 1)):
        caplog.clear()
        with redis.Redis.from_url(url) as client:
            shop = new(proxy.url, SESSION_REDIS=client)
            shop.visitor().get("/untouched")
        said = [record for record in caplog.records if "SESSION_REDIS" in record.getMessage()]
        assert len(said) == expected
