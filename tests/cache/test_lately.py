"""What is read again and again is made once; and nothing but what the server has sent just now."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import pytest
import redis
from flask import Flask, Response, request
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_kit import RedisKit, cache_result
from flask_redis_kit.cache import lately
from flask_redis_kit.cache.lately import Lately, Shared
from flask_redis_kit.cache.payload import packed, unpacked
from flask_redis_kit.cache.representation import Representation
from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.errors import CodecError
from tests.cache.test_route import Page, was_hit
from tests.harness.children import exit_code, fork

LIMIT = 1_000_000
HEAD = b"a header"


class Text(Shared):
    """A decoded value that may be shared."""

    __slots__ = ("text",)

    def __init__(self, data: bytes | memoryview) -> None:
        self.text = bytes(data).decode()


@pytest.fixture
def decompressed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by what was decompressed."""
    sizes: list[int] = []

    def counted(data: memoryview, flags: int, limit: int) -> bytes:
        plain = unpacked(data, flags, limit)
        sizes.append(len(plain))
        return plain

    monkeypatch.setattr(lately, "unpacked", counted)
    return sizes


def read(values: Lately, name: str, data: bytes, *, shared: bool = False) -> Any:
    payload = packed(data)
    stored = b"".join((HEAD, payload.data))  # another object each time, as a reply is
    return values.value(name, stored, len(HEAD), payload.flags, Text if shared else bytes)


def test_what_comes_again_as_it_was_is_decompressed_once(decompressed: list[int]) -> None:
    values = Lately(LIMIT)
    for _ in range(3):
        assert read(values, "a", b"a" * 5000) == b"a" * 5000
    assert decompressed == [5000]
    assert read(values, "b", b"a" * 5000) == b"a" * 5000, "under another name it is another one"
    assert decompressed == [5000] * 2


def test_what_is_stored_anew_is_made_anew(decompressed: list[int]) -> None:
    values = Lately(LIMIT)
    for letter in (b"a", b"b", b"a"):
        assert read(values, "a", letter * 5000) == letter * 5000
    assert decompressed == [5000] * 3
    values.value("a", b"x", 0, 0, bytes)
    assert read(values, "a", b"a" * 5000) == b"a" * 5000


@pytest.mark.parametrize("size", [50, 5000])
def test_what_nobody_changes_is_decoded_once_and_other_values_each_time(size: int) -> None:
    values = Lately(LIMIT)
    first, second = (read(values, "a", b"a" * size, shared=True) for _ in range(2))
    assert first is second
    assert isinstance(first, Text)
    assert first.text == "a" * size

    codec = Codec()
    payload = packed(codec.encode([["x" * size]]))
    lists = [values.value("b", payload.data, 0, payload.flags, codec.decode) for _ in range(2)]
    lists[0][0].append("mine")
    assert lists[1] == [["x" * size]]


def test_a_value_that_cannot_be_read_is_not_kept() -> None:
    values = Lately(LIMIT)
    broken = packed(b"a" * 5000).data[:-1]
    for _ in range(2):
        with pytest.raises(CodecError):
            values.value("a", broken, 0, 1, bytes)
    with pytest.raises(ZeroDivisionError):
        values.value("a", packed(b"a" * 5000).data, 0, 1, lambda _: 1 // 0)
    assert read(values, "a", b"a" * 5000) == b"a" * 5000


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 9000)), max_size=60))
def test_no_more_than_there_is_room_for_is_kept(reads: list[tuple[str, int]]) -> None:
    values = Lately(LIMIT, room=20_000)
    for name, size in reads:
        data = name.encode() * size
        if name in "abc":
            assert read(values, name, data, shared=True).text == name * size
        else:
            assert read(values, name, data) == data
        kept = [size for _, _, size in values._kept.values()]
        assert sum(kept) == values._size <= 20_000
        assert all(size <= 5_000 for size in kept)


@pytest.mark.parametrize("size", [5, 300, 5000])
def test_small_pages_take_no_more_memory_than_there_is_room_for(size: int) -> None:
    values, codec = Lately(LIMIT, room=400_000), Codec()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(2000):
            fields = [["Content-Type", "text/html"], ["ETag", f'"{n:040d}"']]
            stored = bytes(80) + codec.encode(["200 OK", fields, bytes(size), 4])
            values.value(
                f"{n:027d}", stored, 80, 0, lambda data: Representation(codec.decode(data))
            )
        assert tracemalloc.get_traced_memory()[0] - before < 600_000
    finally:
        tracemalloc.stop()


def test_the_oldest_give_way_and_are_made_again(decompressed: list[int]) -> None:
    values = Lately(LIMIT, room=20_000)
    for name in "abcd":
        read(values, name, b"x" * 3500)
    del decompressed[:]
    read(values, "e", b"x" * 3500)
    for name in "bcde":
        read(values, name, b"x" * 3500)
    assert decompressed == [3500]
    read(values, "a", b"x" * 3500)
    assert decompressed == [3500] * 2


def test_threads_that_read_the_same_and_others_get_what_was_stored() -> None:
    values = Lately(LIMIT, room=20_000)
    wrong: list[object] = []

    def reader(seed: int) -> None:
        for n in range(300):
            letter = b"abcdefgh"[(n * seed) % 8 :][:1]
            if read(values, letter.decode(), letter * 4000) != letter * 4000:
                wrong.append(letter)

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in (1, 3, 5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(size for _, _, size in values._kept.values()) == values._size


def test_a_child_does_not_wait_for_a_thread_that_it_has_not() -> None:
    values = Lately(LIMIT)
    read(values, "a", b"a" * 5000)
    with values._lock:  # as if another thread had it, which is not there in the child
        pid = fork(lambda: read(values, "a", b"b" * 5000) == b"b" * 5000)
        assert exit_code(pid) == 0


def large(n: int) -> str:
    return f"page {n} " * 1000


def test_a_hot_page_is_decoded_once_and_each_visitor_has_a_response_of_his_own(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []

    class Counted(Representation):
        __slots__ = ()

        def __init__(self, stored: object) -> None:
            made.append(stored)
            super().__init__(stored)

    monkeypatch.setattr("flask_redis_kit.cache.visit.Representation", Counted)

    @app.after_request
    def sign(response: Response) -> Response:
        who = request.args["who"]
        response.headers["X-Visitor"] = who
        response.headers.add("Vary", who)
        response.set_data(response.get_data() + who.encode())
        return response

    app.add_url_rule("/", view_func=cache_result(query=())(Page(lambda: large(1)).view))
    client = app.test_client()
    client.get("/?who=nobody")
    for who in ("ann", "bob", "cid"):
        response = client.get(f"/?who={who}")
        assert was_hit(response)
        assert response.headers.getlist("X-Visitor") == [who]
        assert response.headers.getlist("Vary") == [who]
        assert response.text == large(1) + who
        assert response.headers["Content-Length"] == str(len(response.data))
    assert len(made) == 1


def test_a_page_that_is_damaged_after_it_was_read_counts_as_absent(
    app: Flask, redis_client: redis.Redis
) -> None:
    page = Page(lambda: large(page.calls))
    app.add_url_rule("/", view_func=cache_result()(page.view))
    client = app.test_client()
    for _ in range(2):
        assert client.get("/").text == large(1)
    [key] = redis_client.keys("*:cache:v:*")
    redis_client.setrange(key, redis_client.strlen(key) - 2, b"xx")
    assert client.get("/").text == large(2)
    assert was_hit(client.get("/"))


def test_a_result_that_a_caller_has_changed_is_as_stored_for_the_next_one(kit: RedisKit) -> None:
    @kit.cache.cache_result("rows")
    def rows() -> list[str]:
        return ["row"] * 5000

    with kit.state().app.app_context():
        for _ in range(3):
            found = rows()
            assert found == ["row"] * 5000
            found.clear()


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        ["200 OK", [], b""],
        [200, [], b"", 0],
        ["", [], b"", 0],
        ["  ", [], b"", 0],
        ["0 x y", [], b"", 0],
        ["200 OK\r\nX-Evil: 1", [], b"", 0],
        ["200 OK\n", [], b"", 0],
        ["200 OK", [["a"]], b"", 0],
        ["200 OK", [["a", 1]], b"", 0],
        ["200 OK", [["a", "b\nc: d"]], b"", 0],
        ["200 OK", 7, b"", 0],
        ["200 OK", [], "text", 0],
        ["200 OK", [], 7, 0],
        ["200 OK", [], None, 0],
        ["200 OK", [], b"", "0"],
    ],
)
def test_what_is_no_response_is_refused_when_it_is_read(stored: object) -> None:
    with pytest.raises(CodecError, match="It is no response"):
        Representation(stored)
