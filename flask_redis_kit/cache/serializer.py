"""What makes bytes of a value and a value of bytes: the kit's codec, or one of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.errors import CodecError


@runtime_checkable
class Serializer(Protocol):
    """A codec of the user's own: ``encode`` and ``decode`` are each other's inverse.

    What ``decode`` raises means that the stored value can't be read, so that it counts as absent.
    """

    def encode(self, value: Any, /) -> bytes:
        """The bytes of a value."""

    def decode(self, data: bytes, /) -> Any:
        """The value that ``encode`` made these bytes from."""


def checked_codec(codec: object) -> Serializer:
    """A codec that a user has given; ``TypeError`` if it is none."""
    if isinstance(codec, type) or not isinstance(codec, Serializer):
        raise TypeError(f"codec must be an object with encode() and decode(), not {codec!r}.")
    return codec


def encoded(value: object, codec: Serializer) -> bytes:
    """The bytes of a value. ``CodecError`` whatever the codec raises, or if it makes no bytes."""
    if isinstance(codec, Codec):
        return codec.encode(value)
    try:
        data = codec.encode(value)
    except CodecError:
        raise
    except Exception as error:  # the user's code
        raise CodecError(f"{_named(codec)} can't encode this: {error!r}.") from error
    if not isinstance(data, bytes):
        raise CodecError(f"{_named(codec)}.encode() must make bytes, not {type(data).__name__}.")
    return data


def decoder(codec: Serializer) -> Callable[[bytes | memoryview], Any]:
    """Makes values of the payloads that ``encoded`` made. ``CodecError`` whatever goes wrong."""
    if isinstance(codec, Codec):
        return codec.decode

    def decode(payload: bytes | memoryview) -> Any:
        try:
            return codec.decode(bytes(payload))
        except Exception as error:  # the user's code, on bytes that may be anything
            raise CodecError(f"{_named(codec)} can't decode it: {error!r}.") from error

    return decode


def _named(codec: object) -> str:
    return f"The codec {type(codec).__qualname__}"
