"""``@cache_result`` on methods: what identifies the object, and what hangs on ``obj.method``."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

import pytest
import redis
from flask import Flask
from flask.views import MethodView

from flask_redis_kit import ConfigError, RedisKit, cache_result
from flask_redis_kit.cache import register_key_type
from flask_redis_kit.cache.cached import BoundCached, Cached
from tests.cache.test_route import was_hit

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


class Account:
    """Its objects say what they are."""

    def __init__(self, account_id: int) -> None:
        self.id = account_id

    def __cache_key__(self) -> object:
        return self.id

    @cache_result(tags=["n:{n}"])
    def balance(self, n: int = 0, *, currency: str = "EUR") -> tuple[int, int]:
        """The balance."""
        calls.append((self.id, n))
        return self.id, n

    @cache_result(ignore=("self",))
    def rates(self) -> int:
        calls.append("rates")
        return 1

    @cache_result()
    async def later(self, n: int) -> tuple[int, int]:
        calls.append(("later", n))
        return self.id, n

    @cache_result(ignore=("cls",))
    @classmethod
    def kinds(cls, n: int = 1) -> list[int]:
        calls.append(("kinds", n))
        return [n]

    @cache_result()
    @staticmethod
    def double(n: int) -> int:
        calls.append(("double", n))
        return 2 * n

    @staticmethod
    @cache_result()
    def triple(n: int) -> int:
        calls.append(("triple", n))
        return 3 * n


class Savings(Account):
    """Another class with the same ids."""


def called_from_class(function: Any) -> Any:
    """``kinds`` and the like: checkers see the function beneath ``@classmethod``."""
    return cast("Any", function)


def test_objects_are_told_apart_by_class_and_key(kit: RedisKit, app: Flask) -> None:
    with app.app_context():
        assert Account(1).balance() == Account(1).balance(0) == (1, 0)
        assert Account(2).balance() == (2, 0)
        assert Savings(1).balance() == (1, 0)
        assert Account(1).rates() == Savings(2).rates() == 1
    assert calls == [(1, 0), (2, 0), (1, 0), "rates"]


def test_everything_hangs_on_the_objects_method(
    kit: RedisKit, app: Flask, redis_client: redis.Redis
) -> None:
    one, two = Account(1), Account(2)
    with app.app_context():
        assert one.balance.cached_many([5, (6,), {"n": 7}]) == [(1, 5), (1, 6), (1, 7)]
        assert one.balance.cached_many([7, 5]) == [(1, 7), (1, 5)]
        two.balance(5)
        assert redis_client.exists(one.balance.cache_key(5))
        one.balance.invalidate(n=5)
        assert one.balance.refresh(6) == (1, 6)
        assert one.balance.uncached(6) == (1, 6)
        del calls[:]
        one.balance(6)
        two.balance(5)
        one.balance(5)
        assert calls == [(1, 5)]
        one.balance.invalidate_all()
        two.balance(5)
        assert calls == [(1, 5), (2, 5)]


def test_a_bound_method_looks_like_the_function(kit: RedisKit) -> None:
    account = Account(1)
    bound = account.balance
    assert isinstance(bound, BoundCached)
    assert bound.__name__ == "balance"
    assert bound.__self__ is account
    assert isinstance(Account.balance, Cached)
    assert list(inspect.signature(Account.balance).parameters) == ["self", "n", "currency"]
    assert inspect.iscoroutinefunction(Account(1).later)
    assert not inspect.iscoroutinefunction(bound)
    with pytest.raises(AttributeError, match="nothing"):
        _ = bound.nothing


def test_class_and_static_methods(kit: RedisKit, app: Flask) -> None:
    kinds, double = called_from_class(Account.kinds), called_from_class(Account.double)
    with app.app_context():
        assert kinds(5) == called_from_class(Account(1).kinds)(5) == kinds(n=5) == [5]
        kinds.invalidate(5)
        assert kinds(5) == [5]
        assert double(2) == called_from_class(Account(3).double)(2) == 4
        double.invalidate(2)
        assert double(2) == 4
        assert Account.triple(2) == called_from_class(Account(1).triple)(2) == 6
    assert calls == [
        ("kinds", 5), ("kinds", 5), ("double", 2), ("double", 2), ("triple", 2)
    ]  # fmt: skip


def test_a_method_without_its_object_is_a_wrong_call(kit: RedisKit, app: Flask) -> None:
    with app.app_context():
        Account(1).rates()
        with pytest.raises(TypeError, match="missing a required argument: 'self'"):
            Account.rates()  # type: ignore[call-arg]  # that is the point


def test_classmethod_goes_below(kit: RedisKit, app: Flask) -> None:
    class Wrong:
        @classmethod
        @kit.cache.cache_result(ignore=("cls",))
        def make(cls, n: int = 1) -> int:
            return n

    with pytest.raises(ConfigError, match="Put @cache_result above @classmethod"):
        called_from_class(Wrong.make)(2)


def test_a_class_of_others_can_be_given_an_identity(kit: RedisKit) -> None:
    class Model:
        def __init__(self, pk: int) -> None:
            self.pk = pk

    class User(Model):
        pass

    class Order(Model):
        pass

    @kit.cache.cache_result()
    def name(model: Model) -> str:
        calls.append(model.pk)
        return f"{type(model).__name__} {model.pk}"

    with pytest.raises(TypeError, match="register_key_type"):
        name(User(1))
    register_key_type(Model, lambda model: model.pk)
    assert [name(User(1)), name(Order(1)), name(User(1)), name(User(2))] == [
        "User 1",
        "Order 1",
        "User 1",
        "User 2",
    ]
    assert calls == [1, 1, 2]
    with pytest.raises(ConfigError, match="registered already"):
        register_key_type(Model, lambda model: model.pk)


@pytest.mark.parametrize("cls", [int, str, object])
def test_a_class_that_has_an_identity_gets_no_other(cls: type) -> None:
    with pytest.raises(ConfigError, match="can't be registered"):
        register_key_type(cls, str)
    with pytest.raises(TypeError, match="a class and a function"):
        register_key_type(cast("type", "x"), str)


def test_an_identity_must_have_one_itself(kit: RedisKit) -> None:
    class Same:
        def __cache_key__(self) -> object:
            return self

    class Other:
        def __cache_key__(self) -> object:
            return object()

    @kit.cache.cache_result()
    def name(value: object) -> int:
        return 1

    with pytest.raises(TypeError, match="'value' is nested too deep, or contains itself"):
        name(Same())
    with pytest.raises(TypeError, match=r"'value' contains a builtins\.object"):
        name(Other())


def test_equal_reprs_are_no_identity(kit: RedisKit) -> None:
    """Flask-Caching takes two objects with one repr for one; and one whose repr is 1 for 1."""

    class User:
        def __init__(self, name: str) -> None:
            self.name = name

        def __repr__(self) -> str:
            return "1"

        def __cache_key__(self) -> object:
            return self.name

    @kit.cache.cache_result()
    def name(user: Any) -> str:
        return user.name if isinstance(user, User) else "a number"

    assert [name(User("alice")), name(User("bob")), name(1)] == ["alice", "bob", "a number"]
    assert [name(User("alice")), name(User("bob")), name(1)] == ["alice", "bob", "a number"]


class Item(MethodView):
    """A view class: its objects live for one request."""

    @cache_result()
    def get(self, item_id: int, lang: str = "en") -> dict[str, Any]:
        calls.append(item_id)
        return {"id": item_id}


def test_a_view_classes_responses_are_invalidated_by_its_method(kit: RedisKit, app: Flask) -> None:
    app.add_url_rule("/<int:item_id>", view_func=Item.as_view("item"))
    client = app.test_client()
    client.get("/1")
    client.get("/2")
    with app.app_context():
        Item().get.invalidate(1)
    assert not was_hit(client.get("/1"))
    assert was_hit(client.get("/2"))
    with app.app_context():
        Item.get.invalidate(None, item_id=2)  # type: ignore[arg-type]  # any object will do
        Item().get.invalidate_all()
    assert not was_hit(client.get("/1"))
    assert calls == [1, 2, 1, 1]


def test_a_decorator_above_keeps_what_hangs_on_the_function(kit: RedisKit) -> None:
    def logged(function: Callable[[int], int]) -> Any:
        @wraps(function)
        def wrapper(n: int) -> int:
            return function(n)

        return wrapper

    @logged
    @kit.cache.cache_result()
    def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    assert double(1) == double.refresh(1) == double.uncached(1) == 2
    double.invalidate(1)
    assert double.cached_many([1]) == [2]
    double.invalidate_all()
    double(1)
    assert calls == [1, 1, 1, 1, 1]
    assert double.cache_key(1)


@cache_result()
def at_the_top(n: int) -> int:
    return n


def test_a_cached_function_is_pickled_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(at_the_top)) is at_the_top  # noqa: S301  # our own bytes
    assert repr(at_the_top).startswith("<cached <function at_the_top")
