"""Every row of the table of races, in threads and in processes, many rounds each.

``make chaos`` repeats this file; ``ROUNDS`` times 20 is more than 300 rounds of each row.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.harness.servers import Server
from tests.sessions.lanes import Lane, lanes
from tests.sessions.shop import Shop

ROUNDS = 40
ENDINGS = ["/clear", "/regenerate", "/anew/9", "/login/9", "/revoke/7", "expiry"]


@pytest.fixture(scope="module", params=["threads", "processes"])
def pair(request: pytest.FixtureRequest, session_server: Server) -> Iterator[tuple[Lane, Lane]]:
    """A request that is slow, and one that comes meanwhile."""
    with lanes(request.param, session_server.url, 2) as (slow, other):
        yield slow, other


def meanwhile(
    pair: tuple[Lane, Lane], shop: Shop, redis_client: redis.Redis, sid: str, path: str
) -> str:
    """What happens while the slow request waits; the id that the other one was given."""
    if path == "expiry":
        redis_client.delete(shop.key(sid))
        return ""
    answer = pair[1].request(path, sid)
    assert answer.status == 200
    return answer.sid


@pytest.mark.parametrize("other", ["/set/a/2", "/set/b/2", "/pop/a", *ENDINGS])
def test_a_slow_reader_undoes_nothing(
    pair: tuple[Lane, Lane], shop: Shop, redis_client: redis.Redis, other: str
) -> None:
    for _ in range(ROUNDS // 2):
        sid = shop.session_of(user_id="7", a="1", b="1")
        redis_client.expire(shop.key(sid), 1000)  # so that the reader prolongs it
        pair[0].start("/slow/read", sid, pauses=True)
        meanwhile(pair, shop, redis_client, sid, other)
        after = shop.read(sid)
        pair[0].go_on()
        answer = pair[0].answer()
        assert answer.text == "1"
        assert answer.cookies == []
        assert answer.dropped == []
        assert shop.read(sid) == after
        assert (after == {}) == (other in ENDINGS)


def test_writers_of_different_keys_keep_both(pair: tuple[Lane, Lane], shop: Shop) -> None:
    for _ in range(ROUNDS):
        sid = shop.session_of(a="1")
        pair[0].start("/slow/write-b", sid, pauses=True)
        pair[1].request("/set/c/other", sid)
        pair[0].go_on()
        assert pair[0].answer().cookies == []
        assert shop.read(sid) == {"a": "1", "b": "slow", "c": "other"}


def test_of_two_writers_of_one_key_the_last_to_save_wins(
    pair: tuple[Lane, Lane], shop: Shop
) -> None:
    for _ in range(ROUNDS):
        sid = shop.session_of(a="1")
        pair[0].start("/slow/write-a", sid, pauses=True)
        pair[1].request("/set/a/other", sid)
        pair[0].go_on()
        pair[0].answer()
        assert shop.read(sid) == {"a": "slow"}


def test_a_key_that_is_removed_takes_no_other_along(pair: tuple[Lane, Lane], shop: Shop) -> None:
    for _ in range(ROUNDS):
        sid = shop.session_of(a="1", c="1")
        pair[0].start("/slow/pop-a", sid, pauses=True)
        pair[1].request("/set/b/other", sid)
        pair[0].go_on()
        pair[0].answer()
        assert shop.read(sid) == {"b": "other", "c": "1"}


@pytest.mark.parametrize("action", ["write-b", "pop-a", "regenerate"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_to_a_session_that_ended_is_dropped_in_silence(
    pair: tuple[Lane, Lane], shop: Shop, redis_client: redis.Redis, action: str, ending: str
) -> None:
    for _ in range(ROUNDS // 4):
        sid = shop.session_of(user_id="7", a="1")
        pair[0].start(f"/slow/{action}", sid, pauses=True)
        new = meanwhile(pair, shop, redis_client, sid, ending)
        before = shop.read(new) if new else {}
        pair[0].go_on()
        answer = pair[0].answer()
        assert answer.status == 200
        assert answer.cookies == []
        assert answer.dropped == ["ended"]
        assert shop.read(sid) == {}
        assert (shop.read(new) if new else {}) == before
        kept = [k for k in redis_client.scan_iter("*:session:h") if redis_client.hexists(k, b"\0c")]
        assert kept == ([shop.key(new).encode()] if before else [])
        redis_client.delete(*kept or ["none"])


def test_a_clear_takes_along_what_was_written_meanwhile(
    pair: tuple[Lane, Lane], shop: Shop
) -> None:
    for _ in range(ROUNDS):
        sid = shop.session_of(a="1")
        pair[0].start("/slow/clear", sid, pauses=True)
        pair[1].request("/set/b/other", sid)
        pair[0].go_on()
        (cookie,) = pair[0].answer().cookies
        assert cookie.startswith("session=;")
        assert shop.read(sid) == {}


def test_a_clear_that_never_looked_ends_it_and_deletes_the_cookie(
    pair: tuple[Lane, Lane], shop: Shop
) -> None:
    for _ in range(ROUNDS):
        sid = shop.session_of(a="1")
        pair[0].start("/blind/clear", sid, pauses=True)
        pair[1].request("/set/b/other", sid)
        pair[0].go_on()
        (cookie,) = pair[0].answer().cookies
        assert cookie.startswith("session=;")
        assert shop.read(sid) == {}


@pytest.mark.parametrize("rotation", ["/login/9", "/regenerate"])
@pytest.mark.parametrize("late", ["/set/csrf/token", "/flash/hello", "/get/a", "/regenerate"])
def test_the_old_id_is_anonymous_and_silent_after_a_rotation(
    pair: tuple[Lane, Lane], shop: Shop, rotation: str, late: str
) -> None:
    for _ in range(ROUNDS // 4):
        sid = shop.session_of(a="1")
        new = pair[1].request(rotation, sid).sid
        before = shop.read(new)
        answer = pair[0].request(late, sid)
        assert answer.status == 200
        assert answer.cookies == []
        assert shop.read(new) == before


def test_a_login_counts_whatever_became_of_the_session_before(
    pair: tuple[Lane, Lane], shop: Shop, redis_client: redis.Redis
) -> None:
    for ending in ENDINGS * (ROUNDS // 8):
        sid = shop.session_of(user_id="7", a="1")
        pair[0].start("/slow/login-8", sid, pauses=True)
        meanwhile(pair, shop, redis_client, sid, ending)
        pair[0].go_on()
        assert shop.read(pair[0].answer().sid)["user_id"] == "8"
        assert shop.read(sid) == {}
