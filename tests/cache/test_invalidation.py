"""Tags, keys, everything: what is invalidated is never seen again."""

from __future__ import annotations

import pytest
import redis

from flask_redis_kit import RedisKit
from flask_redis_kit.cache import InvalidationError
from tests.cache.conftest import MakeKit
from tests.harness.proxy import Proxy


def test_a_tag_invalidates_what_has_it_and_nothing_else(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(tags=["products", "product:{product_id}"])
    def product(product_id: int) -> int:
        calls.append(product_id)
        return product_id

    product(1)
    product(2)
    kit.cache.invalidate_tags("product:1")
    product(1)
    product(2)
    assert calls == [1, 2, 1]
    kit.cache.invalidate_tags("products")
    product(1)
    product(2)
    assert calls == [1, 2, 1, 1, 2]


@pytest.mark.parametrize(
    "name", ["x" * 41, "ü" * 21, "{braces}", "a b\r\nc\0", "!n", "k:x", "\ud800"]
)
def test_any_string_can_be_a_tag(name: str, kit: RedisKit) -> None:
    kit.cache.set("key", 1, tags=[name, "other"])
    assert kit.cache.get("key") == 1
    kit.cache.invalidate_tags(name[:-1] + "?")
    assert kit.cache.get("key") == 1
    kit.cache.invalidate_tags(name)
    assert kit.cache.get("key") is None


def test_doubled_braces_in_a_template_are_literal(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(tags=["{{x}}", "{{{n}}}"])
    def value(n: int) -> int:
        calls.append(n)
        return n

    for tag in ("{x}", "{7}"):
        value(7)
        kit.cache.invalidate_tags(tag)
    value(7)
    assert len(calls) == 3


def test_any_keyword_can_be_in_a_template_where_the_function_takes_any(kit: RedisKit) -> None:
    calls: list[object] = []

    @kit.cache.cache_result(tags=["lang:{lang}"])
    def page(**options: object) -> int:
        calls.append(options)
        return 1

    page(lang="de")
    kit.cache.invalidate_tags("lang:de")
    page(lang="de")
    assert len(calls) == 2
    with pytest.raises(TypeError, match="needs an argument named 'lang'"):
        page()


def test_a_value_stored_when_the_function_had_fewer_tags_is_a_miss(
    make_kit: MakeKit, redis_url: str
) -> None:
    """Two releases of one program: the new tag must invalidate everything it names."""

    first = make_kit(redis_url)
    computed: list[int] = []

    def shared() -> int:
        computed.append(1)
        return 1

    first.cache.cache_result("s", tags=["old"])(shared)()
    second = make_kit(redis_url).cache.cache_result("s", tags=["old", "new"])(shared)
    assert [second(), second()] == [1, 1]
    assert len(computed) == 2
    third = make_kit(redis_url).cache.cache_result("s", tags=["new"])(shared)
    assert third() == 1
    assert len(computed) == 2, "more tags than needed do no harm"


def test_an_invalidation_while_computing_wins(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(tags=["products"])
    def product() -> int:
        calls.append(1)
        if len(calls) == 1:
            kit.cache.invalidate_tags("products")
        return len(calls)

    assert [product(), product(), product()] == [1, 2, 2]


def test_a_delete_while_computing_wins(kit: RedisKit) -> None:
    assert kit.cache.get("k") is None
    assert kit.cache.delete("k") is False
    assert kit.cache.set("k", "computed before the delete") is False
    assert kit.cache.get("k") is None


def test_clear_forgets_everything_also_what_is_being_computed(kit: RedisKit) -> None:
    kit.cache.set("old", 1)
    assert kit.cache.get("new") is None
    kit.cache.clear()
    assert kit.cache.set("new", 1) is False
    assert kit.cache.get("old") is None
    assert kit.cache.set("new", 1) is True


def test_the_log_is_bounded_and_what_it_forgot_is_a_miss(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_LOG_LIMIT=10)
    log = kit.cache.engine().shards.logs()[0]
    kit.cache.set("old", 1, tags=["tag 0"])
    for n in range(50):
        kit.cache.invalidate_tags(f"tag {n}")
        assert kit.cache.get("old") is None
        assert redis_client.zcard(log) <= 13
    kit.cache.invalidate_tags(*(f"many {n}" for n in range(100)))
    kit.cache.invalidate_tags("last")
    assert redis_client.zcard(log) <= 13
    state = redis_client.zmscore(log, ["!n", "!s", "!f"])
    assert state is not None
    assert None not in state
    assert kit.cache.get("old") is None
    assert kit.cache.set("new", 1, tags=["tag 0"])
    assert kit.cache.get("new") == 1


def test_a_full_server_drops_its_log_instead(kit: RedisKit, redis_client: redis.Redis) -> None:
    kit.cache.set("k", 1, tags=["t"])
    redis_client.config_set("maxmemory", "1")
    try:
        assert kit.cache.invalidate_tags("t") == 1
        assert kit.cache.get("k") is None
    finally:
        redis_client.config_set("maxmemory", "0")
    assert kit.cache.get("k") is None
    kit.cache.set("k", 2)
    redis_client.config_set("maxmemory", "1")
    try:
        kit.cache.delete("k")
        assert kit.cache.get("k") is None
    finally:
        redis_client.config_set("maxmemory", "0")


def test_an_invalidation_that_cannot_be_sent_is_an_error(kit: RedisKit, proxy: Proxy) -> None:
    @kit.cache.cache_result()
    def value() -> int:
        return 1

    value()
    proxy.refuse()
    proxy.cut()
    with pytest.raises(InvalidationError, match="'a', 'b' could not be invalidated") as caught:
        kit.cache.invalidate_tags("a", "b")
    assert caught.value.tags == ("a", "b")
    with pytest.raises(InvalidationError, match="'k'"):
        kit.cache.delete("k")
    with pytest.raises(InvalidationError, match=r"test_invalidation\..*value"):
        value.invalidate()
    with pytest.raises(InvalidationError, match="The cache could not"):
        kit.cache.clear()


def test_a_lost_reply_is_asked_for_again(warmed: RedisKit, proxy: Proxy) -> None:
    warmed.cache.set("k", 1, tags=["t"])
    proxy.cut_after(1)
    warmed.cache.invalidate_tags("t")
    assert warmed.cache.get("k") is None
