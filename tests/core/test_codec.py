"""Stored values come back as they were, type for type, or are refused."""

from __future__ import annotations

import collections
import contextlib
import enum
import math
import pickle
import threading
import tracemalloc
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from flask_redis_kit.core.codec import MAX_DEPTH, Codec
from flask_redis_kit.core.errors import CodecError, ConfigError

codec = Codec()


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type, at every depth and down to the sign of a zero."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        if math.isnan(one):
            return bool(math.isnan(other))
        return bool(one == other and math.copysign(1, one) == math.copysign(1, other))
    if isinstance(one, Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset):
        left = list(other)
        for item in one:
            match = next((i for i, candidate in enumerate(left) if same(item, candidate)), None)
            if match is None:
                return False
            del left[match]
        return not left
    if isinstance(one, datetime | time):
        clock = one.replace(tzinfo=None) == other.replace(tzinfo=None)
        return bool(clock and same_zone(one.tzinfo, other.tzinfo) and one.fold == other.fold)
    return bool(one == other)


def same_zone(one: tzinfo | None, other: tzinfo | None) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, ZoneInfo) and isinstance(other, ZoneInfo):
        return one.key == other.key
    if one is None or other is None:
        return True
    return one == other and one.tzname(None) == other.tzname(None)


offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23))
zones = (
    st.none()
    | st.just(UTC)
    | st.builds(timezone, offsets)
    | st.builds(timezone, offsets, st.text(st.characters(codec="utf-8")))
    | st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]).map(ZoneInfo)
)
folds = st.integers(0, 1)
hashable_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 127, 128, -128, -129])
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs", "L"]), max_size=3)
    | st.binary()
    | st.builds(
        lambda moment, fold: moment.replace(fold=fold), st.datetimes(timezones=zones), folds
    )
    | st.dates()
    | st.builds(lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.times(), zones, folds)
    | st.timedeltas()
    | st.uuids()
    | st.text().map(Markup)
)
# a signalling NaN can't be hashed
leaves = hashable_leaves | st.decimals() | st.just(Decimal("sNaN123"))
keys = st.recursive(
    hashable_leaves | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=600)
@given(values)
@example([1, True, 1.0, "1", b"1"])
@example({1: "int", 2.5: "float", None: "none", b"b": "bytes", (1, True): "tuple"})
@example({"big": [2**64], "text": "\ud800", "deep": {"x": ("y", {"z": {1}})}})
@example({2**64: 1, "\ud800": 2, "plain": 3})
@example((Decimal("-0E+3"), Decimal("1.00"), Decimal("-Infinity"), Decimal("NaN12")))
@example(datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1))
@example(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1, microseconds=1), "Here")))
def test_a_value_comes_back_with_every_type_as_it_was(value: Any) -> None:
    stored = codec.encode(value)
    assert same(codec.decode(stored), value)
    assert codec.encode(codec.decode(stored)) == stored


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes_is_decoded(view: Callable[[bytes], Any]) -> None:
    assert codec.decode(view(codec.encode({"a": (1, b"x")}))) == {"a": (1, b"x")}


def test_a_view_with_gaps_is_decoded() -> None:
    stored = codec.encode([1, 2, 3])
    gaps = memoryview(bytes(byte for pair in zip(stored, stored, strict=True) for byte in pair))
    assert codec.decode(gaps[::2]) == [1, 2, 3]


def test_the_first_byte_is_the_version_and_plain_msgpack_follows() -> None:
    assert codec.encode({"a": [1, None]}) == b"\x01\x81\xa1a\x92\x01\xc0"


GOLDEN: list[tuple[Any, str]] = [
    (2**64, "01c70901010000000000000000"),
    ((1, "a"), "01d6029201a161"),
    ({2, 1}, "01c70303920102"),
    (frozenset({b"x"}), "01d60491c40178"),
    ({(1,): None, 2: True}, "01d70594d5029101c002c3"),
    (
        datetime(2026, 10, 25, 2, 30, 1, 9, ZoneInfo("Europe/Berlin"), fold=1),
        "01c7190699cd07ea0a19021e010901ad4575726f70652f4265726c696e",
    ),
    (datetime(2026, 1, 1, tzinfo=UTC), "01c70d0699cd07ea010100000000009100"),
    (
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
        "01c7150699cd07ea0101000000000092ced693a400a3434554",
    ),
    (date(2026, 2, 3), "01c7060793cd07ea0203"),
    (time(1, 2, 3, 4), "01c70708960102030400c0"),
    (timedelta(-1, 2, 3), "01d60993ff0203"),
    (uuid.UUID(int=7), "01d80a00000000000000000000000000000007"),
    (Decimal("-1.50"), "01c7050b2d312e3530"),
    (Markup("<b>"), "01c7030c3c623e"),
    ("\ud800", "01c7030deda080"),
]


@pytest.mark.parametrize(("value", "stored"), GOLDEN)
def test_what_is_stored_today_stays_readable(value: Any, stored: str) -> None:
    assert same(codec.decode(bytes.fromhex(stored)), value)
    assert codec.encode(value).hex() == stored


@settings(deadline=None)
@given(st.lists(keys, unique=True, max_size=8), st.randoms())
def test_equal_sets_give_equal_bytes_in_whatever_order_they_grew(
    items: list[Any], random: Any
) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)
    assert codec.encode(set(items)) == codec.encode(set(shuffled))
    assert codec.encode([frozenset(items)]) == codec.encode([frozenset(shuffled)])


def test_sets_of_text_have_the_same_bytes_whatever_the_hash_seed() -> None:
    assert codec.encode({"b", "a", "c"}) == codec.encode({"c", "a", "b"})
    assert codec.encode({"b", "a"})[-4:] == b"\xa1a\xa1b"


def test_dicts_keep_their_order() -> None:
    assert list(codec.decode(codec.encode({"b": 1, "a": 2}))) == ["b", "a"]
    assert list(codec.decode(codec.encode({(2,): 1, "a": 2, (1,): 3}))) == [(2,), "a", (1,)]


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


class Point(collections.namedtuple("Point", "x y")):
    __slots__ = ()


class Foreign(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(0)

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        return "foreign"


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


def cycle() -> list[Any]:
    loop: list[Any] = []
    loop.append({"again": (loop,)})
    return loop


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        ({"cart": [1, 2, Colour.RED]}, 'value["cart"][2]', "Colour"),
        ({"a": {3: Name("x")}}, 'value["a"][3]', "Name"),
        ([(0, Point(1, 2))], "value[0][1]", "Point"),
        (collections.OrderedDict(a=1), "value ", "collections.OrderedDict"),
        (collections.defaultdict(int), "value ", "collections.defaultdict"),
        ({Name("k"): 1}, "value.keys()[0]", "Name"),
        ({"a": {(1, Colour.RED): 1}}, 'value["a"].keys()[0][1]', "Colour"),
        ({"s": {Point(1, 2)}}, 'value["s"]{…}', "Point"),
        ({"t": datetime(2026, 1, 1, tzinfo=Foreign())}, 'value["t"]', "zoneinfo.ZoneInfo"),
        ([Money(1)], "value[0]", "kit.codec.register(Money"),
        (object(), "value ", "type object"),
        (bytearray(b"x"), "value ", "bytearray"),
        (1j, "value ", "complex"),
        (int, "value ", "type type"),
        (cycle(), "value", "contains itself"),
        (nested(MAX_DEPTH + 1, lambda value: [value]), "value", "deep"),
        (nested(MAX_DEPTH + 1, lambda value: (value,)), "value", "deep"),
        (nested(100_000, lambda value: {"k": value}), "value", "deep"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_stored_is_refused_by_place_type_and_cure(
    value: Any, place: str, reason: str
) -> None:
    with pytest.raises(CodecError) as caught:
        codec.encode(value)
    message = str(caught.value)
    assert place in message
    assert reason in message
    assert len(message) < 500


@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: [value],
        lambda value: (value,),
        lambda value: {"k": value},
        lambda value: frozenset([value]),
    ],
    ids=["list", "tuple", "dict", "frozenset"],
)
def test_the_deepest_value_that_is_stored_can_be_read_again(wrap: Callable[[Any], Any]) -> None:
    value = nested(MAX_DEPTH, wrap)
    assert codec.decode(codec.encode(value)) == value


def test_a_stack_that_is_nearly_full_gives_a_codec_error() -> None:
    value = nested(MAX_DEPTH, lambda value: (value,))

    def dive() -> None:
        try:
            dive()
        except RecursionError:
            codec.encode(value)

    with pytest.raises(CodecError, match="deep"):
        dive()


HOSTILE = {
    "nothing": b"",
    "only the version": b"\x01",
    "another version": b"\x02\xc0",
    "json": b'{"a": 1}',
    "trailing": b"\x01\xc0\xc0",
    "unassigned opcode": b"\x01\xc1",
    "huge array": b"\x01\xdd\xff\xff\xff\xff",
    "huge map": b"\x01\xdf\xff\xff\xff\xff",
    "huge text": b"\x01\xdb\xff\xff\xff\xff",
    "huge bytes": b"\x01\xc6\xff\xff\xff\xffx",
    "huge extension": b"\x01\xc9\xff\xff\xff\xff\x02",
    "nested huge arrays": b"\x01" + b"\xdd\x00\x0f\xff\xff" * 50_000,
    "deep arrays": b"\x01" + b"\x91" * 1_000_000,
    "deep maps": b"\x01" + b"\x81\xa1a" * 300_000,
    "not UTF-8": b"\x01\xa1\xff",
    "unhashable key": b"\x01\x81\x80\x01",
    "unknown extension": b"\x01\xd4\x63\x00",
    "negative extension": b"\x01\xd4\xfe\x00",
    "tuple that is no array": b"\x01\xd4\x02\x01",
    "odd pairs": b"\x01\xd5\x05\x91\x01",
    "set of a list": b"\x01\xd5\x03\x91\x90",
    "month 13": b"\x01\xc7\x06\x07\x93\xcd\x07\xea\x0d\x01",
    "short UUID": b"\x01\xd4\x0a\x00",
    "no decimal": b"\x01\xd5\x0bxx",
    "decimal too large": b"\x01\xc7\x1a\x0b1E" + b"9" * 24,
}


@pytest.mark.parametrize("stored", HOSTILE.values(), ids=HOSTILE.keys())
def test_bytes_that_are_no_value_are_refused_without_taking_memory(stored: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            codec.decode(stored)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_extensions_nested_without_end_are_refused() -> None:
    stored = b"\xc0"
    for _ in range(3000):
        body = b"\x91" + stored
        stored = b"\xc9" + len(body).to_bytes(4, "big") + b"\x02" + body
    with pytest.raises(CodecError):
        codec.decode(b"\x01" + stored)


@pytest.mark.parametrize("zone", ["No/Where", "../../etc/passwd", "America", "", "\0"])
def test_a_time_zone_that_is_not_there_is_a_codec_error(zone: str) -> None:
    stored = codec.encode(datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Rome")))
    body = stored[4:].replace(b"\xabEurope/Rome", bytes([0xA0 + len(zone)]) + zone.encode())
    with pytest.raises(CodecError):
        codec.decode(b"\x01\xc7" + bytes([len(body)]) + stored[3:4] + body)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_data_is_refused(protocol: int) -> None:
    with pytest.raises(CodecError, match="no version"):
        codec.decode(pickle.dumps({"a": 1}, protocol))


def test_text_is_not_decoded() -> None:
    with pytest.raises(CodecError, match="not str"):
        codec.decode("\x01\x01")  # type: ignore[arg-type]


@settings(deadline=None, max_examples=1500)
@given(values, st.data())
def test_corrupt_bytes_give_a_value_or_a_codec_error(value: Any, data: st.DataObject) -> None:
    stored = bytearray(codec.encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(stored)))
        match data.draw(st.sampled_from(["change", "insert", "cut", "drop"])):
            case "change" if at < len(stored):
                stored[at] = data.draw(st.integers(0, 255))
            case "insert":
                stored[at:at] = data.draw(st.binary(min_size=1, max_size=5))
            case "cut":
                del stored[at:]
            case _:
                del stored[at : at + 1]
    with contextlib.suppress(CodecError):
        codec.decode(bytes(stored))


@settings(deadline=None, max_examples=1000)
@given(st.binary(), st.integers(0, 15))
def test_noise_gives_a_value_or_a_codec_error(noise: bytes, code: int) -> None:
    extension = b"\xc9" + len(noise).to_bytes(4, "big") + bytes([code]) + noise
    for stored in (noise, b"\x01" + noise, b"\x01" + extension):
        with contextlib.suppress(CodecError):
            codec.decode(stored)


def with_money() -> Codec:
    known = Codec()
    known.register(
        Money, "money", lambda money: {"cents": money.cents}, lambda body: Money(body["cents"])
    )
    return known


def test_a_registered_class_comes_back_at_any_depth() -> None:
    known = with_money()
    found = known.decode(known.encode({"cart": [(Money(5),)]}))["cart"][0][0]
    assert type(found) is Money
    assert found.cents == 5


def test_a_registered_class_may_be_a_key_or_in_a_set() -> None:
    known = Codec()
    known.register(Colour, "colour", lambda colour: colour.name, Colour.__getitem__)
    value = {Colour.RED: {Colour.RED}}
    found = known.decode(known.encode(value))
    assert type(next(iter(found))) is Colour
    assert type(next(iter(found[Colour.RED]))) is Colour


def test_subclasses_of_a_registered_class_are_unknown() -> None:
    class Euro(Money):
        pass

    with pytest.raises(CodecError, match="Euro"):
        with_money().encode(Euro(1))


def test_a_class_that_is_not_registered_here_is_named_with_the_cure() -> None:
    with pytest.raises(CodecError, match=r"'money'.*register"):
        codec.decode(with_money().encode(Money(1)))


def test_what_a_class_is_encoded_to_must_be_known() -> None:
    known = Codec()
    known.register(Money, "money", lambda _: [object()], lambda _: Money(0))
    with pytest.raises(CodecError, match=r"value\[0\]\.<as encoded by 'money'>\[0\]"):
        known.encode([Money(1)])


def test_a_class_that_is_encoded_to_itself_is_refused() -> None:
    known = Codec()
    known.register(Money, "money", lambda money: money, lambda _: Money(0))
    with pytest.raises(CodecError, match="contains itself"):
        known.encode(Money(1))


def test_a_decode_function_that_fails_is_named() -> None:
    older = Codec()
    older.register(Money, "money", lambda money: money.cents, Money)
    with pytest.raises(CodecError, match="'money' failed") as caught:
        with_money().decode(older.encode(Money(1)))
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize(
    ("cls", "name", "complaint"),
    [
        (Money, "other", "only once"),
        (Colour, "money", "taken"),
        (Colour, "", "1 to 64"),
        (Colour, "x" * 65, "1 to 64"),
        (datetime, "moment", "already"),
        (dict, "mapping", "already"),
        ("Money", "text", "a class"),
    ],
)
def test_a_registration_that_cannot_be_right_is_refused(
    cls: Any, name: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        with_money().register(cls, name, lambda _: 0, lambda _: cls(0))


def test_threads_may_share_a_codec() -> None:
    known = with_money()
    wrong: list[int] = []

    def work(number: int) -> None:
        for step in range(300):
            value = {
                "n": (number, step),
                "set": {number, step},
                "big": 2**70 + step,
                "p": [step] * 9,
            }
            if not same(known.decode(known.encode(value)), value):
                wrong.append(number)
            if known.decode(known.encode(Money(step))).cents != step:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
