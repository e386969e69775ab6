"""What makes bytes of a value and a value of bytes: the kit's codec, or one of the user's own."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Serializer(Protocol):
    """A codec of the user's own: ``encode`` and ``decode`` are each other's inverse.

    What ``decode`` raises means that the stored value can't be read, so that it counts as absent.
    """

    def encode(self, value: Any, /) -> bytes:
        """The bytes of a value."""

    def decode(self, data: bytes, /) -> Any:
        """The value that ``encode`` made these bytes from."""
