"""Lua scripts: one file each, loaded when first used, called by SHA-1.

A call goes out as ``EVALSHA``. When the server doesn't know the script (a restart, a failover,
``SCRIPT FLUSH``) the wire sends the same call again as ``EVAL``, which also teaches the server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

Arg = str | bytes | int | float | memoryview


class Script:
    """One Lua file of a package, e.g. ``Script("flask_redis_kit.ratelimit", "lua/acquire.lua")``.

    ``prelude`` is a file with functions that several scripts use; it is sent before the script.
    Nothing is read before the first call. Instances are shared by all applications.
    """

    __slots__ = ("__dict__", "filename", "package", "prelude")

    def __init__(self, package: str, filename: str, *, prelude: str | None = None) -> None:
        self.package: Final = package
        self.filename: Final = filename
        self.prelude: Final = prelude

    # No functools.cached_property: up to Python 3.11 it has one lock for all scripts, which a child
    # that is forked in that moment inherits for ever. Reading a file twice does no harm.

    @property
    def source(self) -> bytes:
        """The text of the file, after that of its prelude."""
        known: bytes | None = self.__dict__.get("source")
        if known is None:
            names = (self.filename,) if self.prelude is None else (self.prelude, self.filename)
            texts = (files(self.package).joinpath(name).read_bytes() for name in names)
            known = b"\n".join(texts)
            self.__dict__["source"] = known
        return known

    @property
    def sha(self) -> bytes:
        """The 40 hex digits by which a server knows the script."""
        known: bytes | None = self.__dict__.get("sha")
        if known is None:
            # the protocol's name for the script, not a security measure
            known = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()
            self.__dict__["sha"] = known
        return known

    def call(self, keys: Sequence[str | bytes], args: Sequence[Arg] = ()) -> ScriptCall:
        """One call of the script: every key it touches in ``keys``, all else in ``args``."""
        return ScriptCall(self, keys, args)

    def repeated(self, keys: Sequence[str | bytes], args: Sequence[Arg]) -> RepeatedCall:
        """Calls with these keys, and with these arguments behind one that differs each time."""
        return RepeatedCall(self, keys, args)

    def __repr__(self) -> str:
        return f"Script({self.package}:{self.filename})"


class ScriptCall:
    """A call of a script with its keys and arguments, not sent yet."""

    __slots__ = ("args", "keys", "script")

    def __init__(self, script: Script, keys: Sequence[str | bytes], args: Sequence[Arg]) -> None:
        self.script = script
        self.keys = keys
        self.args = args

    def by_sha(self) -> tuple[Arg, ...]:
        """The call as ``EVALSHA``."""
        return (b"EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)

    def on_wire(self) -> tuple[Arg, ...] | bytes:
        """The call as ``EVALSHA``, or these very bytes if they were packed ahead."""
        return self.by_sha()

    def by_source(self) -> tuple[Arg, ...]:
        """The call as ``EVAL``: right on any server and inside a transaction."""
        return (b"EVAL", self.script.source, len(self.keys), *self.keys, *self.args)

    def __repr__(self) -> str:
        return f"ScriptCall({self.script.filename}, keys={list(self.keys)!r})"


class RepeatedCall:
    """A call that is made often, of which only the first argument changes: the rest is packed once.

    To pack a call of twenty arguments takes longer than to send it.
    """

    __slots__ = ("_args", "_head", "_keys", "_script", "_tail")

    def __init__(self, script: Script, keys: Sequence[str | bytes], args: Sequence[Arg]) -> None:
        self._script = script
        self._keys = tuple(keys)
        self._args = tuple(args)
        head = (b"EVALSHA", script.sha, len(keys), *keys)
        self._head = b"*%d\r\n%b" % (len(head) + 1 + len(args), b"".join(map(_packed, head)))
        self._tail = b"\r\n" + b"".join(map(_packed, args))

    def with_first(self, argument: str) -> ScriptCall:
        """The call with this argument before the others."""
        data = argument.encode()
        packed = b"%b$%d\r\n%b%b" % (self._head, len(data), data, self._tail)
        return _PackedCall(self._script, self._keys, (argument, *self._args), packed)


class _PackedCall(ScriptCall):
    __slots__ = ("_packed",)

    def __init__(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Arg], packed: bytes
    ) -> None:
        self.script = script
        self.keys = keys
        self.args = args
        self._packed = packed

    def on_wire(self) -> bytes:
        return self._packed


def _packed(argument: Arg) -> bytes:
    data = bytes(argument) if isinstance(argument, (bytes, memoryview)) else str(argument).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)
