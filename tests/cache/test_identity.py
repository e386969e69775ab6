"""Keys: different calls never share one, equal calls always do."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import KEEP, Enum, Flag, IntEnum, IntFlag
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_redis_kit.cache.identity import Namer, NoIdentity, encode
from flask_redis_kit.cache.options import Options
from flask_redis_kit.cache.recipe import Recipe

ROOT = Path(__file__).parents[2]


class Colour(Enum):
    RED = 1


class Size(IntEnum):
    SMALL = 1


class Mode(IntFlag):
    READ = 1


class Kept(Flag, boundary=KEEP):
    READ = 1


@dataclass(frozen=True)
class Point:
    x: int
    y: int


@dataclass(frozen=True)
class Other:
    x: int
    y: int


class Derived(Point):
    extra: int = 0


@dataclass
class Mutable:
    x: int


class Text(str):
    __slots__ = ()


class Zone(tzinfo):
    def utcoffset(self, _: datetime | None, /) -> timedelta:
        return timedelta(0)

    def dst(self, _: datetime | None, /) -> None:
        return None

    def tzname(self, _: datetime | None, /) -> None:
        return None


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.binary(max_size=6)
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
)
hashable = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
values = st.recursive(
    scalars | st.frozensets(scalars, max_size=3) | st.sets(scalars, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(hashable, inner, max_size=3)
    ),
    max_leaves=8,
)


def canonical(value: Any) -> Any:
    """Something whose equality is that of value and exact type."""
    kind = type(value).__name__
    if isinstance(value, dict):
        items = [(canonical(key), canonical(item)) for key, item in value.items()]
        return kind, sorted(items, key=repr)
    if isinstance(value, set | frozenset):
        return kind, sorted((canonical(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return kind, [canonical(item) for item in value]
    return kind, repr(value)


@settings(max_examples=150, deadline=None)
@given(values, values)
def test_values_share_an_encoding_only_if_value_and_type_are_equal(one: Any, other: Any) -> None:
    assert (encode(one) == encode(other)) == (canonical(one) == canonical(other))


@settings(max_examples=150, deadline=None)
@given(st.lists(values, max_size=4), st.lists(values, max_size=4))
def test_calls_share_a_digest_only_if_they_are_equal(one: list[Any], other: list[Any]) -> None:
    namer = Namer("fn", "module", "f")
    digests = [
        namer.digest({f"p{n}": value for n, value in enumerate(arguments)}).text
        for arguments in (one, other)
    ]
    assert (digests[0] == digests[1]) == (canonical(one) == canonical(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a_b", "c"], ["a", "b_c"]),
        ([1, 23], [12, 3]),
        (["a", ["b", "c"]], [["a", "b"], "c"]),
        (Point(1, 2), Other(1, 2)),
        (Point(1, 2), (1, 2)),
        (Colour.RED, 1),
        (Size.SMALL, 1),
        (Colour.RED, "RED"),
        (Mode(8), Mode(16)),
        (Mode(1), 1),
        (Kept(8), Kept(16)),
        (-0.0, 0.0),
        (Decimal("1.0"), Decimal("1")),
        (date(2026, 1, 1), datetime(2026, 1, 1)),
        (datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)),
        (
            datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Paris")),
            datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        ),
        (datetime(2026, 10, 25, 2, fold=0), datetime(2026, 10, 25, 2, fold=1)),
        (time(1), timedelta(hours=1)),
        (2**64, str(2**64)),
        ("\ud800", "?"),
    ],
    ids=str,
)
def test_lookalikes_differ(one: object, other: object) -> None:
    namer = Namer("fn", "f")
    assert encode(one) != encode(other)
    assert namer.digest({"x": one}).text != namer.digest({"x": other}).text


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Text("x"),
        Mutable(1),
        Derived(1, 2),
        int,
        len,
        [object()],
        {object(): 1},
        iter([1]),
        bytearray(b"x"),
        datetime(2026, 1, 1, tzinfo=Zone()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_identity_is_refused(value: object) -> None:
    with pytest.raises(NoIdentity):
        encode(value)
    with pytest.raises(TypeError, match="f: the argument 'x'"):
        Namer("fn", "f").digest({"x": value}, "f")


texts = st.text(alphabet="a1,:(){}[]\x00sibN", max_size=5)
adversarial = st.recursive(
    st.sampled_from([0, 1, -1, True, False, None, 0.0, -0.0, 1.0, "", b"", (), []])
    | texts
    | texts.map(str.encode)
    | st.integers(-3, 300)
    | st.sampled_from([Colour.RED, Size.SMALL, Point(1, 2), Decimal(1), UUID(int=1)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts, inner, max_size=2)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(st.lists(adversarial, max_size=3), st.dictionaries(texts, adversarial, max_size=2)),
    st.tuples(st.lists(adversarial, max_size=3), st.dictionaries(texts, adversarial, max_size=2)),
)
def test_calls_with_look_alikes_never_share_a_digest(
    one: tuple[list[Any], dict[str, Any]], other: tuple[list[Any], dict[str, Any]]
) -> None:
    """Of one function that takes anything, asked twice: what it remembers counts as well."""

    def anything(*args: object, **kwargs: object) -> None: ...

    recipe = Recipe(anything, Options())
    first, second, again, third = (
        recipe.call(tuple(args), kwargs) for args, kwargs in (one, other, one, other)
    )
    assert first is not None
    assert second is not None
    assert again is not None
    assert third is not None
    equal = canonical([tuple(one[0]), one[1]]) == canonical([tuple(other[0]), other[1]])
    assert (first.digest.raw == second.digest.raw) == equal
    assert (first.digest.raw, second.digest.raw) == (again.digest.raw, third.digest.raw)


@settings(max_examples=100, deadline=None)
@given(st.lists(adversarial, min_size=2, max_size=4))
def test_however_a_call_is_written_its_key_is_the_same(arguments: list[Any]) -> None:
    def function(a: Any, b: Any, c: Any = 5, *, d: Any = (1,)) -> None: ...

    recipe = Recipe(function, Options())
    names = ("a", "b", "c", "d")
    by_name = dict(zip(names, arguments, strict=False))
    defaults = {"c": 5, "d": (1,), **by_name}
    by_position, last = arguments[:3], dict(zip(names[3:], arguments[3:], strict=False))
    written = [
        recipe.call(tuple(by_position), last),
        recipe.call((), by_name),
        recipe.call((), dict(reversed(defaults.items()))),
        recipe.call(tuple(arguments[:1]), dict(list(by_name.items())[1:])),
    ]
    assert len({call.digest.raw for call in written if call is not None}) == 1


def test_names_do_not_run_into_each_other() -> None:
    digests = {
        Namer(*names).digest({}).text
        for names in (("fn", "a", "bc"), ("fn", "ab", "c"), ("fn", "abc"), ("route", "a", "bc"))
    }
    assert len(digests) == 4


def test_keys_are_the_same_in_every_process() -> None:
    """Whatever the hash seed; and they are pinned, as a change would empty every cache."""
    code = (
        "from flask_redis_kit.cache.identity import Namer;"
        "from decimal import Decimal;"
        "n = Namer('fn', 'shop', 'product');"
        "print(n.digest({'a': 1, 'b': 'x'}).text, n.digest({'a': {'x', 'y', Decimal(1)}}).text)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {"4wDTbSO92YMwAgYDqYlvTNnNYG0 __1PsBRVZJQsZDlZqAVXsHALTEg\n"}


def test_calls_have_the_same_keys_in_every_process() -> None:
    """Nested sets and dicts in any order, identities of the user's, defaults given or omitted."""
    code = """
from flask_redis_kit.cache.identity import register_key_type
from flask_redis_kit.cache.options import Options
from flask_redis_kit.cache.recipe import Recipe

class User:
    def __init__(self, names): self.names = names
    def __cache_key__(self): return self.names

class Row:
    def __init__(self, pk): self.pk = pk

register_key_type(Row, lambda row: {row.pk, "row"})

def function(user, rows, *more, lang="en", **rest): ...

recipe = Recipe(function, Options(version=3))
names = frozenset("abcdefgh")
one = recipe.call((User(names), {Row(1).pk: {"x", "y", ("z", names)}}, Row(2)), {"k": {"b", "a"}})
other = recipe.call(
    (User(names), {1: {("z", names), "y", "x"}}, Row(2)), {"k": {"a", "b"}, "lang": "en"}
)
print(one.digest.text, other.digest.text == one.digest.text, b"".join(one.tags).decode())
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    (output,) = outputs
    assert " True " in output


def test_a_uuid_and_a_time_zone_of_fixed_offset_have_identity() -> None:
    encode(UUID(int=1))
    encode(time(1, tzinfo=timezone(timedelta(hours=2))))
