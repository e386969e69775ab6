"""Mistakes in a decorator are errors where it stands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest

from flask_redis_kit import ConfigError, RedisKit, cache_result
from tests.cache.conftest import MakeKit


def product(product_id: int, lang: str = "en") -> str:
    return f"{product_id} {lang}"


@pytest.mark.parametrize("ttl", [0, -1, 0.0001, math.inf, math.nan, timedelta(0), 1e12])
def test_a_ttl_that_no_value_can_live(ttl: Any) -> None:
    with pytest.raises(ConfigError, match="ttl="):
        cache_result(ttl=ttl)(product)


@pytest.mark.parametrize("ttl", ["300", True, [5]])
def test_a_ttl_of_a_wrong_type(ttl: Any) -> None:
    with pytest.raises(TypeError, match="ttl must be seconds or a timedelta"):
        cache_result(ttl=ttl)(product)


def test_more_than_32_tags() -> None:
    cache_result(tags=[str(n) for n in range(32)])(product)
    with pytest.raises(ConfigError, match="33 tags are too many"):
        cache_result(tags=[str(n) for n in range(33)])(product)


@pytest.mark.parametrize("tags", ["products", b"x", 5, None, [5], [b"x"]])
def test_tags_of_a_wrong_type(tags: Any) -> None:
    with pytest.raises(TypeError, match=r'write tags=\["products"\]'):
        cache_result(tags=tags)(product)


def test_an_unknown_placeholder() -> None:
    with pytest.raises(ConfigError, match=r"names \{id\}.*it has lang, product_id"):
        cache_result(tags=["product:{id}"])(product)


@pytest.mark.parametrize(
    "tag", ["{product_id.x}", "{0}", "{}", "{product_id!r}", "{product_id:>9}"]
)
def test_a_placeholder_that_is_no_plain_name(tag: str) -> None:
    with pytest.raises(ConfigError, match="names of parameters only"):
        cache_result(tags=[tag])(product)


@pytest.mark.parametrize("tag", ["{product_id", "product_id}"])
def test_a_single_brace(tag: str) -> None:
    with pytest.raises(ConfigError, match="Double a literal brace"):
        cache_result(tags=[tag])(product)


def test_an_empty_tag() -> None:
    with pytest.raises(ConfigError, match="empty"):
        cache_result(tags=[""])(product)


def test_forgotten_parentheses() -> None:
    with pytest.raises(TypeError, match="parentheses"):
        cache_result(cast("Any", product))


@pytest.mark.parametrize(("prefix", "error"), [(5, TypeError), ("", ConfigError)])
def test_a_prefix_that_is_none(prefix: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="key_prefix"):
        cache_result(prefix)


def test_public_of_a_wrong_type() -> None:
    with pytest.raises(TypeError, match="public must be True or False"):
        cache_result(public=cast("Any", "yes"))


def test_what_is_no_function() -> None:
    with pytest.raises(TypeError, match="decorates functions"):
        cache_result()(dict)
    with pytest.raises(TypeError, match="With @property, put it below"):
        cache_result()(cast("Any", property(product)))


def test_a_generator() -> None:
    def lines() -> Iterator[str]:
        yield "x"

    with pytest.raises(TypeError, match="lines is a generator"):
        cache_result()(lines)


@pytest.mark.parametrize(
    "setting", ["DEFAULT_TTL", "LEASE_SECONDS", "LOG_LIMIT", "MAX_BYTES", "WAIT_SECONDS"]
)
def test_a_setting_that_is_too_small(setting: str, make_kit: MakeKit) -> None:
    with pytest.raises(ConfigError, match=f"REDIS_CACHE_{setting} must be"):
        make_kit("redis://127.0.0.1:1/0", **{f"REDIS_CACHE_{setting}": -1})


@pytest.mark.parametrize("key", [5, None, b"x"])
def test_a_key_of_a_wrong_type(key: Any, kit: RedisKit) -> None:
    for operation in (kit.cache.get, kit.cache.delete, lambda key: kit.cache.set(key, 1)):
        with pytest.raises(TypeError, match="A cache key must be a string"):
            operation(key)


def test_set_checks_its_ttl_and_tags(kit: RedisKit) -> None:
    with pytest.raises(ConfigError, match="ttl=0"):
        kit.cache.set("k", 1, ttl=0)
    with pytest.raises(TypeError, match="tags must be several strings"):
        kit.cache.set("k", 1, tags="products")


def test_invalidate_tags_takes_the_tags_one_by_one(kit: RedisKit) -> None:
    with pytest.raises(TypeError, match=r'write invalidate_tags\("a", "b"\)'):
        kit.cache.invalidate_tags(cast("Any", ["a", "b"]))
    assert kit.cache.invalidate_tags() == 0
    assert kit.cache.invalidate_tags("a", "b", "a") == 2
    assert kit.cache.invalidate_tags(*(str(n) for n in range(100))) == 100
