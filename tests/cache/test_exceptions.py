"""Exceptions that are kept like results."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis
from werkzeug.exceptions import NotFound, TooManyRequests

from flask_redis_kit import CodecError, RedisKit
from flask_redis_kit.cache.raised import facts, rebuilt
from tests.waiting import wait_until


class Missing(LookupError):
    """Its parameters aren't what it passes on."""

    def __init__(self, kind: str, number: int, *, hint: str = "") -> None:
        super().__init__(f"no {kind} {number}")
        self.kind = kind
        self.hint = hint


class Gone(Missing):
    """Another class."""


def test_a_declared_exception_is_kept_and_raised_again(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(exceptions=Missing, ttl=60, tags=["n:{n}"])
    def find(n: int) -> int:
        calls.append(n)
        raise Missing("row", n, hint="look elsewhere")

    raised: list[Missing] = []
    for _ in range(3):
        with pytest.raises(Missing, match="no row 7") as caught:
            find(7)
        raised.append(caught.value)
    assert calls == [7]
    assert 40_000 < redis_client.pttl(find.cache_key(7)) <= 60_000
    assert len({id(error) for error in raised}) == 3, "each call has one of its own"
    for error in raised:
        assert (type(error), error.args) == (Missing, ("no row 7",))
        assert (error.kind, error.hint) == ("row", "look elsewhere")
    assert raised[1].__cause__ is None
    kit.cache.invalidate_tags("n:7")
    with pytest.raises(Missing):
        find(7)
    assert calls == [7, 7]


def test_no_other_exception_is_kept(kit: RedisKit, redis_client: redis.Redis) -> None:
    calls: list[type] = []

    @kit.cache.cache_result(exceptions=(Missing, KeyError))
    def fails(cls: str) -> int:
        error = {"gone": Gone("row", 1), "value": ValueError(), "key": KeyError("k")}[cls]
        calls.append(type(error))
        raise error

    for name, error in (("gone", Gone), ("value", ValueError), ("key", KeyError)):
        for _ in range(2):
            with pytest.raises(error):
                fails(name)
    assert calls == [Gone, Gone, ValueError, ValueError, KeyError], "a subclass is another class"
    assert not list(redis_client.scan_iter("frk:*:cache:l:*"))
    assert len(list(redis_client.scan_iter("frk:*:cache:v:*"))) == 1


def test_an_exception_that_is_returned_is_a_result(kit: RedisKit) -> None:
    kit.codec.register(Missing, "missing", lambda e: e.args[0], lambda text: Missing(text, 0))

    @kit.cache.cache_result(exceptions=Missing)
    def value() -> Missing:
        return Missing("row", 1)

    assert isinstance(value(), Missing)
    assert isinstance(value(), Missing)


def test_the_ttl_may_tell_exceptions_from_results(kit: RedisKit, redis_client: redis.Redis) -> None:
    def ttl(result: object) -> float | None:
        return 5 if isinstance(result, KeyError) else 300

    @kit.cache.cache_result(
        ttl=ttl,
        exceptions=KeyError,
        when=lambda result: result["exists"],
        tags=[lambda result: result["tag"]],
    )
    def find(name: str) -> Any:
        raise KeyError(name)

    for _ in range(2):
        with pytest.raises(KeyError, match="x"):
            find("x")
    assert 0 < redis_client.pttl(find.cache_key("x")) <= 5_000


def test_an_exception_that_cannot_be_stored_is_raised_all_the_same(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(exceptions=LookupError)
    def fails() -> int:
        calls.append(1)
        raise LookupError(object())

    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        for _ in range(2):
            with pytest.raises(LookupError):
                fails()
    assert len(calls) == 2
    (record,) = caplog.records
    assert "fails: its result is not cached" in record.getMessage()


def test_an_exception_that_is_no_longer_declared_is_computed_anew(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    def of(*exceptions: type[Exception]) -> Any:
        def fails() -> int:
            raise KeyError("x")

        return kit.cache.cache_result("same", exceptions=exceptions)(fails)

    def works() -> int:
        return 1

    with pytest.raises(KeyError):
        of(KeyError)()
    works.__qualname__ = of().uncached.__qualname__
    works = kit.cache.cache_result("same", exceptions=(ValueError,))(works)
    kit.cache.engine().claims.__init__()  # type: ignore[misc]  # as after a new start
    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        assert works() == works() == 1
    (record,) = caplog.records
    assert "'builtins:KeyError' is not among the decorator's exceptions" in record.getMessage()


def test_an_error_of_the_codecs_own_kind_is_an_exception_like_others(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(exceptions=CodecError)
    def fails() -> int:
        calls.append(1)
        raise CodecError("of the user's")

    for _ in range(2):
        with pytest.raises(CodecError, match="of the user's"):
            fails()
    assert calls == [1]


def test_a_kept_exception_is_an_answer_though_there_is_an_old_result(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(ttl=0.05, grace=60, exceptions=KeyError)
    def value() -> int:
        calls.append(1)
        if len(calls) > 1:
            raise KeyError("deleted")
        return 1

    assert value() == 1

    def is_deleted() -> bool:
        try:
            value()
        except KeyError:
            return True
        return False

    wait_until(is_deleted, what="the new answer")


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such page"),
        NotFound(description="by name"),
        TooManyRequests(retry_after=5),
        Missing("row", 1, hint="h"),
        KeyError("k"),
        FileNotFoundError(2, "no such file", "name"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "reason"),
        ImportError("m", name="n", path="p"),
        ValueError(),
    ],
    ids=repr,
)
def test_an_exception_comes_back_as_it_was(error: Exception, kit: RedisKit) -> None:
    stored = kit.codec.decode(kit.codec.encode(facts(error)))
    again = rebuilt(stored, (ValueError, type(error)))
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    if isinstance(error, ImportError):
        assert isinstance(again, ImportError)
        assert (again.name, again.path) == ("n", "p")


@pytest.mark.parametrize(
    "stored", [None, [], ["builtins:KeyError"], ["builtins:ValueError", 5, None], [1, (), None]]
)
def test_what_is_no_stored_exception_is_refused(stored: Any) -> None:
    with pytest.raises(CodecError):
        rebuilt(stored, (ValueError,))
