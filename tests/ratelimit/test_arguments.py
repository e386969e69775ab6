"""Bad input: refused at once where it can be, never silently unlimited."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Blueprint, Flask

from flask_redis_kit import rate_limit
from flask_redis_kit.ratelimit import RateLimitKeyError, client_ip
from tests.ratelimit.conftest import Limited


@pytest.mark.parametrize(
    ("limit", "window", "error", "named"),
    [
        (0, 60, ValueError, "limit="),
        (-1, 60, ValueError, "limit="),
        (10**10, 60, ValueError, "limit="),
        (1.5, 60, TypeError, "limit="),
        ("5", 60, ValueError, "is no limit"),
        ("5/fortnight", 60, ValueError, "is no limit"),
        ("5/minute", 30, TypeError, "window="),
        (True, 60, TypeError, "limit="),
        (None, 60, TypeError, "limit="),
        (lambda _: 5, 60, TypeError, "with its arguments|limit="),
        (5, 0, ValueError, "window="),
        (5, -1.0, ValueError, "window="),
        (5, 1e-9, ValueError, "window="),
        (5, float("nan"), ValueError, "window="),
        (5, float("inf"), ValueError, "window="),
        (5, timedelta(days=-1), ValueError, "window="),
        (5, "60", TypeError, "window="),
        (5, None, TypeError, "window="),
        (5, False, TypeError, "window="),
    ],
)
def test_a_wrong_limit_or_window_is_refused_at_once(
    limited: Limited, limit: Any, window: Any, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        rate_limit(limit=limit, window=window)
    with pytest.raises(error, match=named), limited.app.app_context():
        limited.kit.ratelimit.check(limit=limit, window=window, key="k")


def test_a_decorator_without_arguments_says_how_to_write_it() -> None:
    written = r"@rate_limit\(limit=100, window=60\)"
    with pytest.raises(TypeError, match=written):

        @rate_limit  # type: ignore[arg-type]
        def product(product_id: int) -> str:
            return str(product_id)

    with pytest.raises(TypeError, match=written):  # it could be a function that finds a limit

        @Flask("shop").get("/")
        @rate_limit
        def home() -> str:
            return "ok"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("key", r"rate_limit\(\) takes no argument 'key'\. Did you mean 'key_func'\?"),
        ("methds", "'methods'"),
        ("zzz", "It takes limit, window, key_func, "),
    ],
)
def test_an_option_that_there_is_not_is_named(limited: Limited, option: str, said: str) -> None:
    wrong: dict[str, Any] = {option: 1}
    with pytest.raises(TypeError, match=said):
        rate_limit(limit=1, window=60, **wrong)
    with pytest.raises(TypeError, match=said):
        limited.kit.ratelimit.rate_limit(limit=1, window=60, **wrong)
    with pytest.raises(TypeError, match=rf"^limit\(\) takes no argument '{option}'"):
        limited.kit.ratelimit.limit(limited.app, limit=1, window=60, **wrong)


async def later() -> str:
    return "k"


@pytest.mark.parametrize("key_func", ["user", 5, later])
def test_a_wrong_key_func_is_refused_at_once(key_func: Any) -> None:
    with pytest.raises(TypeError, match="key_func="):
        rate_limit(limit=1, window=60, key_func=key_func)


def test_what_is_no_function_can_not_be_limited() -> None:
    with pytest.raises(TypeError, match="decorates functions"):
        rate_limit(limit=1, window=60)(property(len))  # type: ignore[type-var]
    with pytest.raises(TypeError, match="inside @staticmethod"):
        rate_limit(limit=1, window=60)(staticmethod(later))
    with pytest.raises(TypeError, match=r"by kit\.ratelimit\.limit\(blueprint, \.\.\.\)"):
        rate_limit(limit=1, window=60)(Blueprint("shop", __name__))  # type: ignore[type-var]


@pytest.mark.parametrize("key", [None, "", b"", (), ("",), ("a", None), 1.5, True, ["a"], {}])
def test_an_empty_or_odd_key_is_an_error_that_names_the_place(limited: Limited, key: Any) -> None:
    def find_user() -> Any:
        return key

    @limited.app.get("/")
    @rate_limit(limit=1, window=60, key_func=find_user)
    def home() -> str:
        raise AssertionError("it was let through")

    limited.app.testing = True
    with pytest.raises(RateLimitKeyError, match=r"find_user of the rate limit on 'home'"):
        limited.client.get("/")
    with limited.app.app_context(), pytest.raises(RateLimitKeyError, match="key="):
        limited.kit.ratelimit.check(limit=1, window=60, key=key)


def test_a_key_func_that_hands_out_a_coroutine_is_an_error(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=1, window=60, key_func=lambda: later())  # type: ignore[arg-type, return-value]
    def home() -> str:
        return "ok"

    limited.app.testing = True
    with pytest.raises(RateLimitKeyError, match="coroutine"):
        limited.client.get("/")


@pytest.mark.parametrize("option", ["when", "exempt_when"])
def test_a_condition_that_hands_out_a_coroutine_exempts_nobody(
    limited: Limited, option: str
) -> None:
    @limited.app.get("/")
    @rate_limit(limit=1, window=60, **{option: lambda: later()})  # type: ignore[arg-type]
    def home() -> str:
        raise AssertionError("it was let through")

    limited.app.testing = True
    with pytest.raises(TypeError, match="must not be async"):
        limited.client.get("/")


def test_there_is_no_client_address_outside_of_a_request(limited: Limited) -> None:
    with pytest.raises(RateLimitKeyError, match="no request"):
        client_ip()
    with limited.app.app_context(), pytest.raises(RateLimitKeyError, match="no request"):
        client_ip()
    with limited.app.app_context(), pytest.raises(RateLimitKeyError, match="no request"):
        limited.kit.ratelimit.client_ip()
