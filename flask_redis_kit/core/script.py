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

    def by_source(self) -> tuple[Arg, ...]:
        """The call as ``EVAL``: right on any server and inside a transaction."""
        return (b"EVAL", self.script.source, len(self.keys), *self.keys, *self.args)

    def __repr__(self) -> str:
        return f"ScriptCall({self.script.filename}, keys={list(self.keys)!r})"
