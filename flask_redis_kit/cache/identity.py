"""Key building: arguments to a digest, so that no two different calls ever share one.

Everything is encoded with its exact type and its length, so neither separators nor look-alikes
(``1``, ``True``, ``1.0``, ``"1"``) collide; what has no identity of its own is refused rather than
taken by its ``repr``. Raw input never reaches the server.

A class of the user's own says what identifies its objects with a method ``__cache_key__``, or
``register_key_type`` says it for one.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from hashlib import blake2b
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from flask_redis_kit.core.errors import ConfigError

T = TypeVar("T")
SCHEME = 1
_SCALARS = frozenset({str, bytes, int, float, bool, type(None)})
_pack = msgspec.msgpack.Encoder().encode


class NoIdentity(TypeError):
    """A value that can't be told from others. The caller knows which argument it was."""


class Digest:
    """160 bits that stand for one call; ``text`` is their spelling in keys."""

    __slots__ = ("raw", "text")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.text = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def __repr__(self) -> str:
        return f"Digest({self.text})"


class Namer:
    """Makes the digests of one kind of thing: of one function, of all routes, of raw keys."""

    __slots__ = ("_start",)

    def __init__(self, kind: str, *names: str) -> None:
        start = blake2b(digest_size=20, person=b"frk-cache")
        start.update(encode(("frk", SCHEME, kind, names)))
        self._start = start

    def digest(self, arguments: Mapping[str, object], owner: str = "") -> Digest:
        """The digest of these arguments; ``TypeError`` names the one that has no identity."""
        return self.digest_of(material(arguments, owner))

    def digest_of(self, told: bytes) -> Digest:
        """The digest of arguments that ``material`` has encoded."""
        state = self._start.copy()
        state.update(told)
        return Digest(state.digest())


def register_key_type(cls: type[T], identify: Callable[[T], object]) -> None:
    """Say what tells the objects of a class, and of its subclasses, from each other in cache keys.

    ``identify(obj)`` returns it: an id, a tuple of several. The exact class is part of the key by
    itself. For classes that can't be given a method ``__cache_key__``; call it where the program
    starts, for all applications. ``ConfigError`` for a class that has an identity already.
    """
    if not isinstance(cls, type) or not callable(identify):
        raise TypeError(
            f"register_key_type() needs a class and a function, not {cls!r} and {identify!r}."
        )
    if cls in _ENCODERS or cls is object:
        raise ConfigError(f"{cls.__qualname__} can't be registered: {_why_not(cls)}.")
    if _registered.setdefault(cls, identify) is not identify:
        raise ConfigError(f"{cls.__qualname__} is registered already: register it only once.")


def _why_not(cls: type) -> str:
    return "every object would do" if cls is object else "its objects have an identity already"


def plain(values: Iterable[object]) -> bool:
    """Whether these are all plain scalars: immutable, and told apart by msgpack."""
    return {*map(type, values)} <= _SCALARS


def material(arguments: Mapping[str, object], owner: str) -> bytes:
    """What a digest is made of; ``TypeError`` names the argument that has no identity."""
    values = list(arguments.values())
    if plain(values):  # msgpack is ten times faster
        try:
            return b"s" + _pack([*arguments, *values])
        except (OverflowError, UnicodeEncodeError):
            pass
    parts = [b"t"]
    for name, value in arguments.items():
        parts.append(encode(name))
        try:
            parts.append(encode(value))
        except RecursionError:
            raise TypeError(
                f"{owner}: the argument {name!r} is nested too deep, or contains itself, so it "
                "can't be part of a cache key."
            ) from None
        except NoIdentity as error:
            what = f"the argument {name!r}" if name.isidentifier() else f"what {name} gives"
            ignoring = f", or say ignore=({name!r},)" if name.isidentifier() else ""
            raise TypeError(
                f"{owner}: {what} {error}, so it can't be part of a cache key. Take what "
                "identifies it instead, such as its id; or give its class a method __cache_key__, "
                f"call register_key_type(){ignoring}."
            ) from None
    return b"".join(parts)


def encode(value: object) -> bytes:
    """The bytes of a value: of exact type, prefix-free, the same in every process."""
    kind = type(value)
    encoder = _ENCODERS.get(kind)
    if encoder is not None:
        return encoder(value)
    identify = _identity_of(kind)
    if identify is not None:
        return _joined(b"O", [_named(kind), encode(identify(value))])
    if isinstance(value, Enum):
        # flags that no member stands for have no name, or share one
        known_by = value.value if isinstance(value, Flag) else value.name
        return _joined(b"E", [_named(kind), encode(known_by)])
    parameters: Any = vars(kind).get("__dataclass_params__")  # of the class itself, no base's
    if parameters is not None and parameters.frozen and dataclasses.is_dataclass(value):
        fields = [encode(getattr(value, field.name)) for field in dataclasses.fields(value)]
        return _joined(b"D", [_named(kind), *fields])
    raise NoIdentity(f"contains a {kind.__module__}.{kind.__qualname__}, which has no identity")


def _identity_of(kind: type) -> Callable[[Any], object] | None:
    """What a class, or the nearest of its bases, has been given as its objects' identity."""
    for each in kind.__mro__:
        found: Callable[[Any], object] | None = vars(each).get("__cache_key__")
        found = _registered.get(each) if found is None else getattr(kind, "__cache_key__", None)
        if found is not None:
            return found
    return None


def _chunk(tag: bytes, data: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(data), data)


def _joined(tag: bytes, parts: list[bytes]) -> bytes:
    return b"%b%d:%b" % (tag, len(parts), b"".join(parts))


def _named(kind: type) -> bytes:
    return _text(f"{kind.__module__}:{kind.__qualname__}")


def _text(value: str) -> bytes:
    return _chunk(b"s", value.encode("utf-8", "surrogatepass"))


def _moment(value: datetime | time) -> bytes:
    zone = value.tzinfo
    if zone is not None and type(zone) not in (timezone, ZoneInfo):
        raise NoIdentity(f"has a time zone of the type {type(zone).__qualname__}")
    told = f"{value.isoformat()}/{value.fold}/{type(zone).__name__}/{zone}"
    return told.encode("utf-8", "surrogatepass")


_registered: dict[type, Callable[[Any], object]] = {}
"""Facts about classes, like ``functools.singledispatch``'s: no state of an application."""
_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"T" if value else b"F",
    str: _text,
    bytes: lambda value: _chunk(b"b", value),
    int: lambda value: _chunk(b"i", hex(value).encode()),
    float: lambda value: _chunk(b"f", value.hex().encode()),
    tuple: lambda value: _joined(b"(", [encode(item) for item in value]),
    list: lambda value: _joined(b"[", [encode(item) for item in value]),
    dict: lambda value: _joined(
        b"{", sorted(_joined(b"=", [encode(key), encode(item)]) for key, item in value.items())
    ),
    set: lambda value: _joined(b"<", sorted(encode(item) for item in value)),
    frozenset: lambda value: _joined(b">", sorted(encode(item) for item in value)),
    Decimal: lambda value: _chunk(b"d", str(value).encode()),
    UUID: lambda value: _chunk(b"u", value.bytes),
    datetime: lambda value: _chunk(b"m", _moment(value)),
    date: lambda value: _chunk(b"y", value.isoformat().encode()),
    time: lambda value: _chunk(b"h", _moment(value)),
    timedelta: lambda value: _chunk(
        b"l", f"{value.days}/{value.seconds}/{value.microseconds}".encode()
    ),
}
