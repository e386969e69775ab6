"""A session for oneself: what reads a key and writes it again loses nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from flask import session

from flask_redis_kit.sessions import SessionBusy, SessionStoreUnavailable, session_interrupted
from flask_redis_kit.sessions.ids import digest_of
from tests.harness.proxy import Proxy
from tests.sessions.conftest import MakeShop
from tests.sessions.lanes import lanes
from tests.sessions.shop import Shop, set_cookies
from tests.waiting import wait_until


def lock_of(shop: Shop, sid: str) -> str:
    """The key of a session's lock."""
    return shop.key(sid).replace(":session:h", ":session:l")


HOW = ["view", "block", "async-view", "async-block"]


@pytest.mark.parametrize("how", HOW)
def test_a_counter_loses_nothing(shop: Shop, redis_client: redis.Redis, how: str) -> None:
    sid = shop.session_of(a=1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: shop.visitor(sid).get(f"/count/{how}").text, range(80)))
    assert sorted(map(int, answers)) == list(range(1, 81))
    assert shop.read(sid) == {"a": 1, "n": 80}
    assert not redis_client.exists(lock_of(shop, sid))


def test_a_counter_of_eight_processes_loses_nothing(shop: Shop, redis_url: str) -> None:
    sid = shop.session_of(a=1)
    with lanes("processes", redis_url, 8) as all_lanes:
        for _ in range(20):
            for lane in all_lanes:
                lane.start("/count", sid)
            assert [lane.answer().status for lane in all_lanes] == [200] * 8
    assert shop.read(sid) == {"a": 1, "n": 160}


@pytest.mark.parametrize(("how", "trips"), [("view", 2), ("block", 2)])
def test_it_costs_no_more_than_any_write(counted: Shop, proxy: Proxy, how: str, trips: int) -> None:
    sid = counted.session_of(a=1)
    counted.visitor(sid).get(f"/count/{how}")  # the scripts are known
    with proxy.counting() as count:
        counted.visitor(sid).get(f"/count/{how}")
    assert count.trips == trips
    assert [c[0] for c in count.commands] == [
        b"EVALSHA",
        b"HGETALL",
        b"PTTL",
        b"EVALSHA",
    ]


def test_a_visitor_without_a_session_needs_no_lock(counted: Shop, proxy: Proxy) -> None:
    with proxy.counting() as count:
        assert counted.visitor().get("/count/view").text == "1"
    assert count.trips == 1


def test_who_waits_too_long_is_told_to_come_again(shop: Shop, redis_client: redis.Redis) -> None:
    @shop.app.get("/impatient")
    @shop.kit.sessions.exclusive(wait=0.02)
    def impatient() -> str:
        return "never"

    sid = shop.session_of(a=1)
    redis_client.set(lock_of(shop, sid), "another", px=100_000)
    response = shop.visitor(sid).get("/impatient")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) in range(70, 101)
    assert redis_client.getdel(lock_of(shop, sid)) == b"another"
    assert isinstance(SessionBusy("x"), Exception)


def test_others_go_on_when_the_holder_has_died(shop: Shop, redis_client: redis.Redis) -> None:
    sid = shop.session_of(n=1)
    redis_client.set(lock_of(shop, sid), "dead", px=300)
    assert shop.visitor(sid).get("/count/view").text == "2"


def test_who_takes_longer_than_his_time_overwrites_nothing(
    shop: Shop, redis_client: redis.Redis
) -> None:
    held, go_on = threading.Event(), threading.Event()
    reasons: list[str] = []

    def note(_: object, session: str, reason: str) -> None:
        reasons.append(reason)

    @shop.app.get("/slow")
    @shop.kit.sessions.exclusive(ttl=0.05)
    def slow() -> str:
        before = session["n"]
        held.set()
        assert go_on.wait(60)
        session["n"] = before + 1
        return ""

    sid = shop.session_of(n=1)
    with ThreadPoolExecutor(1) as pool, session_interrupted.connected_to(note):
        late = pool.submit(lambda: shop.visitor(sid).get("/slow"))
        assert held.wait(60)
        wait_until(lambda: not redis_client.exists(lock_of(shop, sid)), what="the lock to end")
        assert shop.visitor(sid).get("/count/view").text == "2"
        go_on.set()
        assert set_cookies(late.result(60)) == []
    assert reasons == ["overtaken"]
    assert shop.read(sid) == {"n": 2}


def test_what_was_read_before_is_read_anew_and_changes_are_kept(shop: Shop) -> None:
    @shop.app.get("/both")
    def both() -> str:
        assert session["a"] == 1
        session["mine"] = "kept"
        del session["b"]
        shop.visitor(sid).get("/set/a/2")
        with shop.kit.sessions.exclusive():
            return str(session["a"])

    sid = shop.session_of(a=1, b=1)
    assert shop.visitor(sid).get("/both").text == "2"
    assert shop.read(sid) == {"a": "2", "mine": "kept"}


def test_it_may_be_nested(shop: Shop, redis_client: redis.Redis) -> None:
    @shop.app.get("/nested")
    @shop.kit.sessions.exclusive()
    def nested() -> str:
        with shop.kit.sessions.exclusive():
            session["a"] = 2
        return str(redis_client.exists(lock_of(shop, sid)))

    sid = shop.session_of(a=1)
    assert shop.visitor(sid).get("/nested").text == "1"
    assert shop.read(sid) == {"a": 2}
    assert not redis_client.exists(lock_of(shop, sid))


@pytest.mark.parametrize(
    "act", ["read", "clear", "regenerate", "login", "fail", "abort", "revoked"]
)
@pytest.mark.parametrize("propagate", [False, True])
def test_it_is_given_back_whatever_becomes_of_the_request(
    shop: Shop, redis_client: redis.Redis, act: str, propagate: bool
) -> None:
    from flask import abort

    shop.app.config["PROPAGATE_EXCEPTIONS"] = propagate

    @shop.app.get("/act")
    @shop.kit.sessions.exclusive()
    def view() -> str:
        session.get("a")
        if act == "clear":
            session.clear()
        elif act == "regenerate":
            shop.kit.sessions.regenerate(session)
        elif act == "login":
            session["user_id"] = 7
        elif act == "fail":
            session["a"] = 2
            raise ZeroDivisionError
        elif act == "abort":
            session["a"] = 2
            abort(404)
        elif act == "revoked":
            assert shop.kit.sessions.revoke(digest_of(sid))
            session["a"] = 2
        return ""

    sid = shop.session_of(a=1)
    if act == "fail" and propagate:
        with pytest.raises(ZeroDivisionError):
            shop.visitor(sid).get("/act")
    else:
        shop.visitor(sid).get("/act")
    found = redis_client.exists(lock_of(shop, sid))
    assert not found


def test_a_block_that_fails_keeps_what_it_wrote_as_a_view_does(shop: Shop) -> None:
    @shop.app.get("/fails")
    def fails() -> str:
        with shop.kit.sessions.exclusive():
            session["a"] = 2
            raise ZeroDivisionError

    sid = shop.session_of(a=1)
    assert shop.visitor(sid).get("/fails").status_code == 500
    assert shop.read(sid) == {"a": 2}


def test_without_a_server_it_is_a_503(make_shop: MakeShop) -> None:
    shop = make_shop("redis://127.0.0.1:1")
    seen: list[Exception] = []

    @shop.app.errorhandler(SessionStoreUnavailable)
    def excuse(error: SessionStoreUnavailable) -> tuple[str, int]:
        seen.append(error)
        return "", 503

    assert shop.visitor("A" * 43).get("/count/view").status_code == 503
    assert len(seen) == 1


@pytest.mark.parametrize("wrong", [{"wait": -1}, {"ttl": 0}, {"wait": float("nan")}])
def test_times_that_can_not_be_are_refused(shop: Shop, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"exclusive\((wait|ttl)="):
        shop.kit.sessions.exclusive(**wrong)
