"""The types that msgpack doesn't have: how each stands in the bytes of its extension.

The numbers are stored: never give one another meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from markupsafe import Markup
from msgspec import msgpack

_MICROSECOND = timedelta(microseconds=1)
_pack = msgpack.Encoder().encode
_unpack = msgpack.Decoder(list[Any]).decode


class Code:
    """The extension numbers of format version 1."""

    BIG_INT = 1
    TUPLE = 2
    SET = 3
    FROZENSET = 4
    PAIRS = 5  # a dict with keys that msgpack can't have
    DATETIME = 6
    DATE = 7
    TIME = 8
    TIMEDELTA = 9
    UUID = 10
    DECIMAL = 11
    MARKUP = 12
    SURROGATES = 13  # a str that is no valid Unicode
    REGISTERED = 14


class Unstorable(Exception):
    """A value that can't be stored. ``steps``: where it stands, from the inside out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []


def _zone(zone: tzinfo | None) -> str | list[object] | None:
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key:
        return zone.key
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        name = zone.tzname(None)
        fields: list[object] = [offset // _MICROSECOND]
        return fields if name == timezone(offset).tzname(None) else [*fields, name]
    kind = type(zone)
    raise Unstorable(
        f"has the time zone {kind.__module__}.{kind.__qualname__}:"
        " use zoneinfo.ZoneInfo(key) or a fixed datetime.timezone"
    )


def _read_zone(fields: Any) -> tzinfo | None:
    if fields is None:
        return None
    if type(fields) is str:
        return ZoneInfo(fields)
    offset = timedelta(microseconds=fields[0])
    return timezone(offset, *fields[1:])


def _write_datetime(value: datetime) -> bytes:
    day = (value.year, value.month, value.day, value.hour, value.minute, value.second)
    return _pack([*day, value.microsecond, value.fold, _zone(value.tzinfo)])


def _read_datetime(data: memoryview) -> datetime:
    year, month, day, hour, minute, second, microsecond, fold, zone = _unpack(data)
    tz = _read_zone(zone)
    return datetime(year, month, day, hour, minute, second, microsecond, tz, fold=fold)


def _write_time(value: time) -> bytes:
    fields = (value.hour, value.minute, value.second, value.microsecond)
    return _pack([*fields, value.fold, _zone(value.tzinfo)])


def _read_time(data: memoryview) -> time:
    hour, minute, second, microsecond, fold, zone = _unpack(data)
    return time(hour, minute, second, microsecond, _read_zone(zone), fold=fold)


def _read_timedelta(data: memoryview) -> timedelta:
    days, seconds, microseconds = _unpack(data)
    return timedelta(days, seconds, microseconds)


WRITERS: Mapping[type, tuple[int, Callable[[Any], bytes]]] = {
    datetime: (Code.DATETIME, _write_datetime),
    date: (Code.DATE, lambda value: _pack([value.year, value.month, value.day])),
    time: (Code.TIME, _write_time),
    timedelta: (
        Code.TIMEDELTA,
        lambda value: _pack([value.days, value.seconds, value.microseconds]),
    ),
    UUID: (Code.UUID, lambda value: value.bytes),
    Decimal: (Code.DECIMAL, lambda value: str(value).encode()),
    Markup: (Code.MARKUP, lambda value: value.encode("utf-8", "surrogatepass")),
}
READERS: Mapping[int, Callable[[memoryview], Any]] = {
    Code.BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    Code.DATETIME: _read_datetime,
    Code.DATE: lambda data: date(*_unpack(data)),
    Code.TIME: _read_time,
    Code.TIMEDELTA: _read_timedelta,
    Code.UUID: lambda data: UUID(bytes=bytes(data)),
    Code.DECIMAL: lambda data: Decimal(str(data, "ascii")),
    Code.MARKUP: lambda data: Markup(str(data, "utf-8", "surrogatepass")),  # noqa: S704 - was one
    Code.SURROGATES: lambda data: str(data, "utf-8", "surrogatepass"),
}


def write_big_int(value: int) -> bytes:
    """An int of any size: two's complement, most significant byte first."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
