"""The options of ``@cache_result``: what is no option is refused where it stands, with the cure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flask_redis_kit import ConfigError, cache_result
from flask_redis_kit.cache.options import checked_options


def product(product_id: int, lang: str = "en") -> str:
    return f"{product_id} {lang}"


class Text:
    def encode(self, value: Any, /) -> bytes:
        return str(value).encode()

    def decode(self, data: bytes, /) -> Any:
        return data.decode()


@pytest.mark.parametrize(
    ("option", "value", "cure"),
    [
        ("grace", "5", "grace must be seconds or a timedelta"),
        ("grace", True, "grace must be seconds or a timedelta"),
        ("wait", [1], "wait must be seconds or a timedelta"),
        ("vary", 5, r'vary=\["Accept-Language", lambda: current_user.id\]'),
        ("vary", [5], "names of request headers or functions"),
        ("vary", [""], "names of request headers or functions"),
        ("key", "id", r"key=lambda user: user\.id"),
        ("when", True, "when must be a function, not True"),
        ("version", 1.5, "version must be a number or a string"),
        ("version", True, "version must be a number or a string"),
        ("ignore", "self", r'write ignore=\("self",\)'),
        ("ignore", [1], "ignore holds 1"),
        ("public", 1, "public must be True or False"),
        ("exceptions", [KeyError], r"exceptions=\(NotFound,\)"),
        ("exceptions", KeyboardInterrupt, "must be classes of exceptions"),
        ("exceptions", (KeyError("x"),), "must be classes of exceptions"),
        ("methods", "GET", r'write methods=\("GET", "POST"\)'),
        ("query", "page", r'write query=\("page", "sort"\)'),
        ("query", [5], "query holds 5"),
        ("body_key", "yes", "body_key must be True or False"),
        ("codec", Text, r"an object with encode\(\) and decode\(\)"),
        ("codec", "json", r"an object with encode\(\) and decode\(\)"),
    ],
)
def test_a_wrong_type(option: str, value: Any, cure: str) -> None:
    with pytest.raises(TypeError, match=cure):
        cache_result(**{option: value})


@pytest.mark.parametrize(
    ("option", "value", "cure"),
    [
        ("grace", -1, "grace=-1 is no time"),
        ("grace", float("nan"), "grace=nan is no time"),
        ("grace", 10**400, "is no time"),
        ("wait", timedelta(seconds=-1), "wait="),
        ("vary", "*", "don't cache it"),
        ("vary", "current_user.id", r"no name of a header: vary=.* lambda: current_user.id\]"),
        ("vary", ["X_Tenant"], "'X_Tenant' is no name of a header"),
        ("methods", ["POST"], r"\['POST'\] of a route need body_key=True"),
        ("methods", [], "methods can't be empty"),
    ],
)
def test_a_value_out_of_range(option: str, value: Any, cure: str) -> None:
    with pytest.raises(ConfigError, match=cure):
        cache_result(**{option: value})


def test_an_unknown_option_names_the_one_that_was_meant() -> None:
    with pytest.raises(TypeError, match=r"no option 'tag'\. Did you mean 'tags'\?"):
        cache_result(tag=["a"])  # type: ignore[call-arg]  # that is the point
    with pytest.raises(TypeError, match=r"no option 'xyz'\. It has key_prefix, ttl, grace"):
        cache_result(xyz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("option", "meant"),
    [("timeout", "ttl"), ("query_string", "query"), ("args_to_ignore", "ignore"), ("tll", "ttl")],
)
def test_an_option_of_another_extension_is_told_what_it_is_called_here(
    option: str, meant: str
) -> None:
    wrong: dict[str, Any] = {option: 1}
    with pytest.raises(TypeError, match=rf"no option '{option}'\. Did you mean '{meant}'\?"):
        cache_result(**wrong)


@pytest.mark.parametrize("ttl", [60, 0.5, timedelta(hours=1)])
def test_a_time_in_the_first_place_is_told_where_it_belongs(ttl: Any) -> None:
    with pytest.raises(TypeError, match=r"key_prefix must be a string.* write ttl="):
        cache_result(ttl)


def test_an_ignored_parameter_must_exist() -> None:
    with pytest.raises(ConfigError, match="no parameter 'db'; it has product_id, lang"):
        cache_result(ignore=("lang", "db"))(product)


def test_what_replaces_all_arguments_leaves_none_to_ignore() -> None:
    with pytest.raises(ConfigError, match="leave one of them out"):
        cache_result(key=lambda *_: 1, ignore=("lang",))(product)


def test_tags_may_be_functions_but_no_more_than_32_templates() -> None:
    cache_result(tags=[*(str(n) for n in range(32)), str])(product)
    with pytest.raises(ConfigError, match="33 tags are too many"):
        cache_result(tags=[*(str(n) for n in range(33)), str])
    with pytest.raises(TypeError, match=r'write tags=\["products"\]'):
        cache_result(tags=[5, str])  # type: ignore[list-item]  # that is the point


def test_options_are_taken_over_in_one_shape() -> None:
    def ids(_: object) -> list[str]:
        return []

    codec = Text()
    options = checked_options(
        "p",
        timedelta(minutes=1),
        ids,
        {
            "grace": timedelta(seconds=5),
            "vary": "Accept-Language",
            "exceptions": KeyError,
            "methods": ["get", "post"],
            "body_key": True,
            "query": ["b", "a", "b"],
            "wait": 0,
            "codec": codec,
        },
    )
    assert (options.ttl, options.grace, options.wait) == (60.0, 5.0, 0.0)
    tags: tuple[object, ...] = options.tags
    assert tags == (ids,)
    assert options.vary == ("Accept-Language",)
    assert options.exceptions == (KeyError,)
    assert options.methods == {"GET", "HEAD", "POST"}
    assert options.query == ("b", "a")
    assert options.codec is codec
    assert checked_options(None, None, (), {}).methods == {"GET", "HEAD"}
