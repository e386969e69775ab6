"""The header of a stored value: small, and the same to Python and to the scripts."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_redis_kit import RedisKit
from flask_redis_kit.cache.envelope import Epoch, pack_header, packed_tags, unpack
from flask_redis_kit.cache.payload import COMPRESSED, RAISED
from flask_redis_kit.cache.tags import member, own_tag
from flask_redis_kit.cache.ttl import LONGEST, Lifetime
from tests.cache.conftest import MakeKit

OWN = own_tag("digest")
PRELUDE = files("flask_redis_kit.cache").joinpath("lua/validity.lua").read_text()
READ = """
local h = header_of(ARGV[1], KEYS[1])
local f = function(n) return string.format('%.0f', n) end
return {h.flags, f(h.fresh), f(h.grace), f(h.nonce), f(h.seq), h.length, unpack(h.tags)}
"""
DAY_MS = 86_400_000
LONGEST_MS = int(LONGEST * 1000)

times = st.one_of(st.integers(0, LONGEST_MS), st.integers(2**32 - 5, 2**32 + 5))
epochs = st.builds(Epoch, st.integers(0, 2**52 - 1).map(float), st.integers(0, 2**47), st.just(0.0))
lists_of_tags = st.lists(
    st.text(max_size=60).map(lambda name: member("t", name)), max_size=40, unique=True
).map(tuple)


@given(
    epoch=epochs,
    fresh=times,
    grace=times,
    delta=st.integers(0, 10**8),
    tags=lists_of_tags,
    flags=st.sampled_from([0, COMPRESSED, RAISED, COMPRESSED | RAISED]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_python_and_the_scripts_read_what_was_written(
    epoch: Epoch,
    fresh: int,
    grace: int,
    delta: int,
    tags: tuple[bytes, ...],
    flags: int,
    redis_client: redis.Redis,
) -> None:
    header = pack_header(epoch, Lifetime(fresh, grace), delta, (*tags[:1], OWN, *tags[1:]), flags)
    assert len(header) == 26 + sum(len(tag) + 1 for tag in tags)
    read = unpack(header + b"payload", OWN)
    assert (read.flags, read.nonce, read.seq) == (flags, epoch.nonce, epoch.seq)
    assert read.tags == (OWN, *tags)
    assert read.start == len(header)
    if max(fresh, grace) < 2**32:
        assert (read.fresh_ms, read.grace_ms) == (fresh, grace)
    else:
        assert 0 <= read.fresh_ms - fresh < 1000
        assert 0 <= read.grace_ms - grace < 1000
    assert read.delta_ms <= delta

    reply: Any = redis_client.eval(PRELUDE + READ, 1, "frk:{a:0of1}:cache:v:digest", header)
    found = [int(each) for each in reply[:6]]
    assert found == [flags, read.fresh_ms, read.grace_ms, epoch.nonce, epoch.seq, len(header)]
    assert tuple(reply[6:]) == read.tags


@pytest.mark.parametrize(
    ("took", "kept"),
    [
        (0, 0),
        (1, 1),
        (32_767, 32_767),
        (32_768, 32_700),
        (32_799, 32_700),
        (32_800, 32_800),
        (3_276_799, 3_276_700),
        (3_276_800, 3_276_700),
        (3_300_000, 3_276_700),
        (2**40, 3_276_700),
    ],
)
def test_a_computing_time_is_kept_to_a_tenth_of_a_second_and_never_as_more_than_an_hour(
    took: int, kept: int
) -> None:
    header = pack_header(Epoch(1, 2, 0), Lifetime(1), took, (OWN,))
    assert unpack(header, OWN).delta_ms == kept


@given(st.lists(lists_of_tags, min_size=2, max_size=2, unique=True))
def test_no_tags_are_packed_as_the_start_of_others(lists: list[tuple[bytes, ...]]) -> None:
    one, other = map(packed_tags, lists)
    assert not one.startswith(other)


@pytest.mark.parametrize("cut", [0, 1, 2, 24, 25, 26, 27, 30])
def test_a_header_that_is_cut_off_is_none(cut: int) -> None:
    header = pack_header(Epoch(1, 2, 0), Lifetime(1), 0, (b"t:abc", OWN))
    with pytest.raises(ValueError, match=r"it is too short|it ends inside its tags"):
        unpack(header[:cut], OWN)
    assert unpack(header, OWN).tags == (OWN, b"t:abc")


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (b"F", "no value of the cache"),
        (b"\xfc\x10", "version 1, flags 0; known is 2"),
        (b"\xfc\x30", "version 3, flags 0; known is 2"),
        (b"\xfc\x29", "version 2, flags 9; known is 2"),
    ],
)
def test_the_header_of_another_program_or_version_is_none(damaged: bytes, why: str) -> None:
    header = pack_header(Epoch(1, 2, 0), Lifetime(1), 0, (OWN,))
    with pytest.raises(ValueError, match=why):
        unpack(damaged + header[len(damaged) :], OWN)


@pytest.mark.parametrize("before", [(100, 0), (100, 100), (90 * 86400, 0), (100, 90 * 86400)])
@pytest.mark.parametrize("ttl", [0.5, 1000, 49 * 86400, 50 * 86400, LONGEST])
def test_touch_gives_any_time_whatever_the_value_had(
    before: tuple[int, int], ttl: float, kit: RedisKit, redis_client: redis.Redis
) -> None:
    fresh, grace = before
    assert kit.cache.set("k", 1, ttl=fresh, grace=grace, tags=["t"])
    assert kit.cache.get("k") == 1
    assert kit.cache.touch("k", ttl)
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    stored = redis_client.get(key)
    assert isinstance(stored, bytes)
    read = unpack(stored, OWN)
    assert read.fresh_ms == pytest.approx(ttl * 1000, abs=500)
    assert read.grace_ms == grace * 1000
    left = redis_client.pttl(key) - (ttl + grace) * 1000
    assert -60_000 < left <= 0
    if ttl > 1:
        assert kit.cache.get("k") == 1
    kit.cache.invalidate_tags("t")
    assert kit.cache.get("k", stale=True) is None


def test_a_value_that_lives_for_months_is_fresh_stale_and_gone(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    for n, left in enumerate((100, 40)):
        kit.cache.set(f"k{n}", n, ttl=60 * 86400, grace=50 * 86400)
        keys = redis_client.scan_iter("frk:*:cache:v:*")
        [key] = [key for key in keys if is_new(redis_client, key)]
        redis_client.pexpire(key, left * DAY_MS)
        assert kit.cache.get(f"k{n}", stale=True) == n
        assert kit.cache.get(f"k{n}") == (n if left > 50 else None)
        assert kit.cache.has(f"k{n}") is (left > 50)


def is_new(client: redis.Redis, key: bytes) -> bool:
    left = client.pttl(key)
    assert isinstance(left, int)
    return left > 105 * DAY_MS


def test_touch_leaves_a_compressed_value_compressed(kit: RedisKit) -> None:
    kit.cache.set("k", "x" * 10_000, ttl=100)
    assert kit.cache.touch("k", 50)
    assert kit.cache.get("k") == "x" * 10_000
    assert kit.cache.touch("k", 60 * 86400)
    assert kit.cache.get("k") == "x" * 10_000


def test_a_key_that_somebody_deletes_between_get_and_set_is_not_set(
    kit: RedisKit, make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    """Its own tag stands in no header: the scripts take it from the key."""
    other = make_kit(redis_url)
    with kit.state().app.test_request_context():
        assert kit.cache.get("k") is None
        with other.state().app.app_context():
            other.cache.delete("k")
        assert kit.cache.set("k", "old") is False
    assert not list(redis_client.scan_iter("frk:*:cache:[vw]:*"))


def test_a_call_that_is_invalidated_while_it_is_computed_is_not_stored(
    kit: RedisKit, redis_client: redis.Redis
) -> None:
    @kit.cache.cache_result("call")
    def call(n: int) -> int:
        call.invalidate(1)  # this one
        return n

    with kit.state().app.app_context():
        assert call(2) == 2
        assert len(list(redis_client.scan_iter("frk:*:cache:v:*"))) == 1
        assert call(1) == 1
        assert len(list(redis_client.scan_iter("frk:*:cache:v:*"))) == 1
