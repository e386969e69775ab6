"""``flask redis sessions``, as somebody types it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from click.testing import Result

from flask_redis_kit.sessions.ids import digest_of
from tests.harness.proxy import Proxy
from tests.sessions.peer import Browser, new_worker
from tests.sessions.shop import Shop

MakeShop = Callable[..., Shop]
Made = Callable[..., Shop]


def run(shop: Shop, *words: str, answer: str | None = None) -> Result:
    return shop.app.test_cli_runner().invoke(args=["redis", "sessions", *words], input=answer)


def login(shop: Shop, user: str, agent: str = "Firefox") -> str:
    client = shop.visitor()
    client.get(f"/login/{user}", headers={"User-Agent": agent})
    cookie = client.get_cookie("session")
    assert cookie is not None
    return str(cookie.value)


def test_sessions_are_counted(shop: Shop) -> None:
    assert run(shop, "count").output == "0 sessions, 0 of them of 0 users\n"
    for user in ("7", "7", "8"):
        login(shop, user)
    shop.session_of(theme="dark")
    ended = shop.visitor(login(shop, "9"))
    ended.get("/clear")
    assert run(shop, "count").output == "4 sessions, 3 of them of 2 users\n"
    found = json.loads(run(shop, "count", "--json").output)
    assert found == {"sessions": 4, "logged_in": 3, "users": 2}


def test_a_users_sessions_are_listed(shop: Shop) -> None:
    one, two = login(shop, "7", "Firefox"), login(shop, "7", "curl")
    login(shop, "8")
    lines = run(shop, "list", "7").output.splitlines()
    assert lines[0].split() == ["handle", "since", "last", "seen", "address", "with"]
    assert {line.split()[0] for line in lines[1:]} == {digest_of(one), digest_of(two)}
    assert {line.split()[-1] for line in lines[1:]} == {"Firefox", "curl"}
    listed = json.loads(run(shop, "list", "7", "--json").output)
    assert {each["handle"] for each in listed} == {digest_of(one), digest_of(two)}
    assert run(shop, "list", "nobody").output == "User 'nobody' has no session.\n"


def test_a_session_is_shown_without_its_values(shop: Shop) -> None:
    sid = login(shop, "7")
    shop.visitor(sid).get("/set/pin/1234-secret")
    shown = run(shop, "show", digest_of(sid))
    assert shown.exit_code == 0
    assert "user_id" in shown.output
    assert "pin" in shown.output
    assert "Firefox" in shown.output
    assert "1234-secret" not in shown.output
    assert sid not in shown.output
    assert "1234-secret" in run(shop, "show", digest_of(sid), "--values").output
    facts = json.loads(run(shop, "show", digest_of(sid), "--json").output)
    assert facts["user"] == "7"
    assert set(facts["keys"]) == {"user_id", "pin"}


def test_what_is_no_session_is_said_so(shop: Shop) -> None:
    sid = login(shop, "7")
    for handle, said in (
        ("x", "'x' is no handle"),
        ("x" * 43, "There is no session"),
        (sid, "There is no session"),
    ):
        result = run(shop, "show", handle)
        assert result.exit_code == 1
        assert said in result.output
    shop.visitor(sid).get("/clear")
    assert "ended a moment ago" in run(shop, "show", digest_of(sid)).output


def test_a_session_is_ended_by_its_handle(shop: Shop) -> None:
    one, two = login(shop, "7"), login(shop, "7")
    result = run(shop, "revoke", digest_of(one), "x" * 43)
    assert result.exit_code == 1
    assert "There is no session xxxxx" in result.output
    assert "1 sessions were ended." in result.output
    assert shop.visitor(one).get("/get/user_id").text == "None"
    assert shop.visitor(two).get("/get/user_id").text == "7"


def test_all_sessions_of_a_user_are_ended_after_a_question(shop: Shop) -> None:
    one, two, other = login(shop, "7"), login(shop, "7"), login(shop, "8")
    assert run(shop, "revoke", "--user", "7", answer="n\n").exit_code == 1
    assert shop.visitor(one).get("/get/user_id").text == "7"
    result = run(shop, "revoke", "--user", "7", "--yes")
    assert result.output == "2 sessions of user '7' were ended.\n"
    assert [shop.visitor(sid).get("/get/user_id").text for sid in (one, two)] == ["None"] * 2
    assert shop.visitor(other).get("/get/user_id").text == "8"


@pytest.mark.parametrize("words", [(), ("--user", "7", "x" * 43), ("no handle",)])
def test_a_wrong_call_ends_nothing(shop: Shop, words: tuple[str, ...]) -> None:
    sid = login(shop, "7")
    assert run(shop, "revoke", *words, answer="y\n").exit_code == 2
    assert shop.visitor(sid).get("/get/user_id").text == "7"


def test_what_is_left_in_users_lists_is_removed(shop: Shop, redis_client: redis.Redis) -> None:
    kept, gone = login(shop, "7"), login(shop, "7")
    redis_client.delete(shop.key(gone))
    (index,) = redis_client.scan_iter("*:session:u")
    # as if it had been entered long ago
    redis_client.zadd(index, {digest_of(gone): 2**31}, xx=True)
    assert run(shop, "gc").output.startswith("0 entries")  # what is new may be about to be stored
    seconds, _ = redis_client.time()
    redis_client.zadd(index, {digest_of(gone): seconds + 1000}, xx=True)
    assert run(shop, "gc").output.startswith("1 entries of ended sessions removed; 1 users")
    assert redis_client.zrange(index, 0, -1) == [digest_of(kept).encode()]


@pytest.fixture
def made(redis_url: str) -> Iterator[Made]:
    shops: list[Shop] = []

    def make(url: str = redis_url, **config: Any) -> Shop:
        shops.append(new_worker(url, **config))
        return shops[-1]

    yield make
    for shop in shops:
        with shop.app.app_context():
            shop.kit.close()


def test_sessions_of_flask_session_are_moved(made: Made, redis_client: redis.Redis) -> None:
    before, after = made(SESSION_BACKEND="flask-session"), made()
    browsers = [Browser() for _ in range(450)]
    for n, browser in enumerate(browsers):
        browser.get(before.app, f"/login/{n}")
    redis_client.expire(f"session:{browsers[0].cookie}", 100)
    redis_client.set("session:" + "p" * 43, b"\x80\x04}.", ex=60)
    redis_client.set("session:not an id", b"x", ex=60)
    browsers[1].get(after.app, "/all")
    rehearsed = run(after, "migrate", "--dry-run")
    assert "449 would be moved, 1 were moved before, 1 can't be read." in rehearsed.output
    assert run(after, "count").output.startswith("1 sessions")
    result = run(after, "migrate")
    assert result.exit_code == 0
    assert "449 moved, 1 were moved before, 1 can't be read." in result.output
    assert "SESSION_LEGACY=False" in result.output
    again = run(after, "migrate")
    assert "0 moved, 450 were moved before, 1 can't be read." in again.output
    only = made(SESSION_LEGACY=False)
    for n, browser in enumerate(browsers):
        assert browser.get(only.app, "/get/user_id") == str(n)
    assert run(only, "count").output == "450 sessions, 450 of them of 450 users\n"
    first = browsers[0].cookie
    assert redis_client.ttl(only.key(first)) <= 31 * 86400


def test_nothing_to_move_is_said_so(shop: Shop) -> None:
    assert run(shop, "migrate").output == "There are no sessions under 'session:'.\n"


@pytest.mark.standalone("the proxy stands before one server")
def test_a_move_that_stopped_goes_on(made: Made, proxy: Proxy) -> None:
    before, after = made(SESSION_BACKEND="flask-session"), made(proxy.url)
    browsers = [Browser() for _ in range(900)]
    for browser in browsers:
        browser.get(before.app, "/login/7")
    assert run(after, "count").output.startswith("0 sessions")  # its connection is open
    proxy.refuse()
    proxy.cut_after(100_000)
    stopped = run(after, "migrate")
    proxy.restore()
    assert stopped.exit_code == 1
    assert "it goes on where it stopped" in stopped.output
    with after.app.app_context():
        assert 0 < len(after.kit.sessions.list("7")) < 900
    result = run(after, "migrate")
    assert result.exit_code == 0
    with after.app.app_context():
        assert len(after.kit.sessions.list("7")) == 900


@pytest.mark.standalone("the proxy stands before one server")
@pytest.mark.parametrize("words", [("count",), ("list", "7"), ("migrate",), ("gc",)])
def test_a_server_that_is_away_is_a_sentence(
    make_shop: MakeShop, proxy: Proxy, words: tuple[str, ...]
) -> None:
    shop = make_shop(proxy.url, REDIS_SOCKET_TIMEOUT=0.2, REDIS_SOCKET_CONNECT_TIMEOUT=0.2)
    proxy.refuse()
    result = run(shop, *words)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["show", "revoke"])
def test_a_handle_may_begin_with_a_dash(shop: Shop, command: str) -> None:
    for handle in ("-" + 42 * "a", "--" + 41 * "a"):
        assert f"There is no session {handle}." in run(shop, command, handle).output
    assert run(shop, "list", "-5").output == "User '-5' has no session.\n"


def test_what_a_browser_calls_itself_reaches_no_terminal(shop: Shop) -> None:
    login(shop, "7", "evil\x1b[2J\x07größe")
    words = ["redis", "sessions", "list", "7"]
    shown = shop.app.test_cli_runner().invoke(args=words, color=True).output
    assert "evil\\x1b[2J\\x07" in shown
    assert not set("\x1b\x07") & set(shown)


def test_values_that_json_has_not_are_shown_all_the_same(shop: Shop) -> None:
    handle = digest_of(shop.session_of(grid={(1, 2): 3}))
    shown = json.loads(run(shop, "show", handle, "--values", "--json").output)
    assert shown["keys"]["grid"]["value"] == "{(1, 2): 3}"


@pytest.mark.parametrize("words", [("count",), ("list", "7"), ("show", "h" * 43), ("migrate",)])
def test_settings_with_which_sessions_can_not_work_are_a_sentence(
    made: Made, words: tuple[str, ...]
) -> None:
    result = run(made(SESSION_COOKIE_NAME="__Host-id"), *words)
    assert result.exit_code == 1
    assert result.output.startswith("Error: SESSION_COOKIE_NAME='__Host-id': browsers drop ")


def test_with_no_prefix_other_programs_keys_are_safe(made: Made, redis_client: redis.Redis) -> None:
    shop = made(SESSION_KEY_PREFIX="", SESSION_LEGACY=False)
    task = "celery-task-meta-1d7f0b60-1b0a-4b43-8f5c-5f2d7a3f0c11"
    redis_client.set(task, b'{"status": "SUCCESS"}')
    assert run(shop, "migrate", answer="n\n").exit_code == 1
    assert redis_client.ttl(task) == -1
    assert "1 moved" in run(shop, "migrate", "--yes").output
