"""Values to bytes and back, type for type, without pickle.

The first byte is the version of the format. Version 1 is msgpack, with the extension types of
``extensions.py`` for what msgpack doesn't have. What can't come back as it was is refused when it
is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext

from flask_redis_kit.core.errors import CodecError, ConfigError
from flask_redis_kit.core.extensions import READERS, WRITERS, Code, Unstorable, write_big_int

T = TypeVar("T")

MAX_DEPTH = 100  # containers inside each other; Python's stack, at decoding, is the bound
_VERSION = b"\x01"
_SCALARS = frozenset({str, int, float, bool, type(None), bytes})
_PLAIN = _SCALARS | {dict, list}
_KNOWN = _PLAIN | {tuple, set, frozenset} | WRITERS.keys()
_BYTES = (bytes, bytearray, memoryview)
_UNREADABLE = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    LookupError,  # no such time zone
    ArithmeticError,
    OSError,  # a time zone's name that is a directory
    RecursionError,
    MemoryError,
)


class Codec:
    """Encodes and decodes values, keeping the exact type at every depth. Safe for threads.

    Knows str, bytes, int of any size, float, bool, None, list, tuple, dict with any hashable keys
    in their order, set, frozenset, datetime (naive, fixed offset, ``ZoneInfo``), date, time,
    timedelta, UUID, Decimal, ``markupsafe.Markup``; and classes given to ``register``.
    """

    def __init__(self) -> None:
        self._writers: dict[type, tuple[str, Callable[[Any], Any]]] = {}
        self._readers: dict[str, Callable[[Any], Any]] = {}
        self._pack = Encoder().encode
        self._unpack = Decoder(ext_hook=self._read_extension).decode

    def register(
        self, cls: type[T], name: str, encode: Callable[[T], Any], decode: Callable[[Any], T]
    ) -> None:
        """Teach the codec a class; its subclasses stay unknown.

        ``name`` (1 to 64 characters) is what is stored: keep it when the class is renamed.
        ``encode`` makes a value that the codec knows; ``decode`` makes the object from it again,
        and must accept what older versions of the program stored. Raises ``ConfigError``.
        """
        if not isinstance(cls, type):
            raise ConfigError(f"register() needs a class, not {cls!r}.")
        if not isinstance(name, str) or not 1 <= len(name) <= 64 or not name.isprintable():
            raise ConfigError(f"The name {name!r} of {_called(cls)} must be 1 to 64 characters.")
        if cls in _KNOWN or cls in self._writers:
            raise ConfigError(f"The codec knows {_called(cls)} already: register it only once.")
        if name in self._readers:
            raise ConfigError(f"The name {name!r} is taken by another class: choose another one.")
        self._readers[name] = decode
        self._writers[cls] = (name, encode)

    def encode(self, value: object) -> bytes:
        """The bytes of ``value``; equal sets give equal bytes, dicts keep their order.

        Raises ``CodecError`` naming the place of what can't be stored, its type and the cure.
        """
        try:
            if _is_plain(value, MAX_DEPTH):
                try:
                    return _VERSION + self._pack(value)
                except (OverflowError, UnicodeEncodeError):
                    pass  # an int or a str that msgpack hasn't: take the long way
            return _VERSION + self._pack(self._convert(value, MAX_DEPTH))
        except Unstorable as error:
            place = "value" + "".join(reversed(error.steps))
            reason = error.reason
        except RecursionError:
            place, reason = "value", "is nested too deep for the stack that is left"
        if len(place) > 200:
            place = place[:120] + " … " + place[-60:]
        raise CodecError(f"Can't store this: {place} {reason}.")

    def decode(self, data: bytes | bytearray | memoryview) -> Any:
        """The value that ``encode`` made ``data`` from.

        Raises ``CodecError`` for anything else: truncated, corrupt, another version, pickled.
        """
        if not isinstance(data, _BYTES):
            raise CodecError(f"Only bytes can be decoded, not {_called(type(data))}.")
        stored = data if isinstance(data, bytes) else bytes(data)
        if stored[:1] != _VERSION:
            _refuse_version(stored)
        try:
            return self._unpack(memoryview(stored)[1:])
        except CodecError:
            raise
        except _UNREADABLE as error:
            raise CodecError(f"These bytes are no stored value: {error}.") from error

    def _convert(self, value: Any, room: int) -> Any:
        """What msgpack can write for ``value``; ``room``: how many containers may still nest."""
        kind = type(value)
        if kind is str:
            return value if value.isascii() else _storable_text(value)
        if kind is int:
            in_range = -(2**63) <= value < 2**64
            return value if in_range else Ext(Code.BIG_INT, write_big_int(value))
        if kind in _SCALARS:
            return value
        writer = WRITERS.get(kind)
        if writer is not None:
            code, write = writer
            return Ext(code, write(value))
        if room <= 0:
            raise Unstorable(f"is nested more than {MAX_DEPTH} deep, or contains itself")
        if kind is list:
            return self._convert_items(value, room)
        if kind is tuple:
            return Ext(Code.TUPLE, self._pack(self._convert_items(value, room)))
        if kind is dict:
            return self._convert_dict(value, room)
        if kind is set or kind is frozenset:
            return self._convert_set(value, room)
        return self._convert_registered(value, room)

    def _convert_items(self, items: list[Any] | tuple[Any, ...], room: int) -> list[Any]:
        converted: list[Any] = []
        try:
            for item in items:
                converted.append(self._convert(item, room - 1))
        except Unstorable as error:
            error.steps.append(f"[{len(converted)}]")
            raise
        return converted

    def _convert_dict(self, mapping: dict[Any, Any], room: int) -> dict[Any, Any] | Ext:
        pairs: list[Any] = []
        native = True
        key = None
        try:
            for key, item in mapping.items():
                stored_key = self._convert(key, room - 1)
                native = native and stored_key is key
                pairs.append(stored_key)
                pairs.append(self._convert(item, room - 1))
        except Unstorable as error:
            in_key = len(pairs) % 2 == 0
            error.steps.append(f".keys()[{len(pairs) // 2}]" if in_key else f"[{_shown(key)}]")
            raise
        if native:
            return dict(zip(pairs[::2], pairs[1::2], strict=True))
        return Ext(Code.PAIRS, self._pack(pairs))

    def _convert_set(self, items: set[Any] | frozenset[Any], room: int) -> Ext:
        try:
            stored = sorted(self._pack(self._convert(item, room - 1)) for item in items)
        except Unstorable as error:
            error.steps.append("{…}")
            raise
        code = Code.SET if type(items) is set else Code.FROZENSET
        return Ext(code, self._pack([msgspec.Raw(item) for item in stored]))

    def _convert_registered(self, value: Any, room: int) -> Ext:
        kind = type(value)
        if kind not in self._writers:
            raise Unstorable(
                f"is of the type {_called(kind)}, which the codec doesn't know: convert it to a"
                f' known type, or kit.codec.register({kind.__name__}, "a name", encode, decode)'
            )
        name, encode = self._writers[kind]
        try:
            body = self._convert(encode(value), room - 1)
        except Unstorable as error:
            error.steps.append(f".<as encoded by {name!r}>")
            raise
        return Ext(Code.REGISTERED, self._pack([name, body]))

    def _read_extension(self, code: int, data: memoryview) -> Any:
        read = READERS.get(code)
        if read is not None:
            return read(data)
        items = self._unpack(data) if code in _CONTAINERS else None
        if type(items) is not list:
            raise CodecError(f"These bytes are no stored value: extension {code} is unknown.")
        if code == Code.REGISTERED:
            return self._read_registered(*items)
        return _CONTAINERS[code](items)

    def _read_registered(self, name: str, body: Any) -> Any:
        decode = self._readers.get(name)
        if decode is None:
            raise CodecError(
                f"The stored value has an object of the class registered as {name!r}, which is"
                " not registered here: call kit.codec.register(…) with that name."
            )
        try:
            return decode(body)
        except Exception as error:  # the user's code, on bytes that may be anything
            raise CodecError(f"The decode function of {name!r} failed: {error!r}.") from error


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


_CONTAINERS: dict[int, Callable[[list[Any]], Any]] = {
    Code.TUPLE: tuple,
    Code.SET: set,
    Code.FROZENSET: frozenset,
    Code.PAIRS: _pairs,
    Code.REGISTERED: list,
}


def _is_plain(value: Any, room: int) -> bool:
    """Whether msgpack itself keeps all types in ``value``: the common case, decided fast."""
    kind = type(value)
    items: Any = value
    if kind is dict:
        if not {*map(type, value)} <= _SCALARS:
            return False
        items = value.values()
    elif kind is not list:
        return kind in _SCALARS
    kinds = {*map(type, items)}
    if kinds <= _SCALARS:
        return room > 0
    if room <= 0 or not kinds <= _PLAIN:
        return False
    return all(_is_plain(item, room - 1) for item in items if type(item) in (dict, list))


def _storable_text(text: str) -> str | Ext:
    try:
        text.encode()
    except UnicodeEncodeError:
        return Ext(Code.SURROGATES, text.encode("utf-8", "surrogatepass"))
    return text


def _refuse_version(stored: bytes) -> NoReturn:
    if not stored:
        raise CodecError("These bytes are no stored value: there are none.")
    hint = " It looks pickled, and pickled data is never loaded." if stored[0] == 0x80 else ""
    raise CodecError(
        f"These bytes begin with {stored[0]:#04x}, which is no version of the format that is"
        f" known here: another program or a newer version stored them.{hint}"
    )


def _called(cls: type) -> str:
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def _shown(key: object) -> str:
    if type(key) is str:
        return '"' + (key if len(key) <= 40 else key[:40] + "…") + '"'
    return repr(key) if type(key) in (int, bool, type(None)) else f"<{_called(type(key))}>"
