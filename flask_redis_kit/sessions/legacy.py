"""Sessions that Flask-Session has written: a string each, ``session:<id>``, of msgpack or JSON.

They are read, shortened and removed, never written. Pickles, which old versions wrote, are not
read: loading one runs whatever is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from redis.exceptions import ResponseError

from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.exchange import Exchange, Outcome, Reply
from flask_redis_kit.core.feature import Context
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.ownership import is_ours

FEATURE = "sessions"
Format = Literal["msgpack", "json"]


class Legacy(NamedTuple):
    """A session of Flask-Session.

    ``stored``   the bytes, as they lie there.
    ``seconds``  what is left of its time; None: no limit.
    """

    fields: Mapping[str, Any]
    stored: bytes
    seconds: float | None


class Unreadable(ValueError):
    """What lies there is no session that we can read."""


class _Reading(Exchange[Legacy | None]):
    """A look at a session; a key of another type is none."""

    __slots__ = ()

    def outcome(self, replies: list[Reply]) -> Outcome[Legacy | None]:
        if _is_of_another_type(replies[0]):
            return Outcome(error=Unreadable(str(replies[0])))
        return super().outcome(replies)


class _Removing(Exchange[bool]):
    """The removal of a session; a key of another type is none, and stays."""

    __slots__ = ()

    def outcome(self, replies: list[Reply]) -> Outcome[bool]:
        if _is_of_another_type(replies[0]):
            return Outcome(False)
        return super().outcome(replies)


class LegacyStore:
    """The exchanges with what Flask-Session left behind.

    ``prefix``      of its keys, ``SESSION_KEY_PREFIX``.
    ``format``      ``SESSION_SERIALIZATION_FORMAT``; the other one is tried if it doesn't fit.
    ``serializer``  the application's own, in place of both: it has ``decode`` or ``loads``.
    """

    def __init__(self, prefix: str, form: Format, serializer: object = None) -> None:
        self.prefix = prefix
        decoders: list[Callable[[bytes], Any]] = [msgspec.msgpack.decode, msgspec.json.decode]
        self._decoders = decoders if form == "msgpack" else decoders[::-1]
        self._readable = "msgpack or JSON"
        if serializer is not None:  # it may check a signature: nothing else may be read then
            self._decoders = [_reader_of(serializer)]
            self._readable = f"what {type(serializer).__name__} reads"

    def load(self, sid: str) -> Exchange[Legacy | None]:
        """Read a session; None if there is none. Raises ``Unreadable``."""
        key = self.key(sid)

        def parse(replies: list[Reply]) -> Legacy | None:
            if not replies[0]:
                return None
            seconds = None if replies[1] < 0 else replies[1] / 1000
            return Legacy(self.decoded(replies[0]), replies[0], seconds)

        return _Reading(FEATURE, key, (("GET", key), ("PTTL", key)), parse, read_only=True)

    def decoded(self, stored: bytes) -> dict[str, Any]:
        """The fields of a stored session, but those named like the kit's. ``Unreadable``."""
        for decode in self._decoders:
            try:
                found = decode(stored)
            except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
                continue
            if isinstance(found, dict):
                named = {str(name): value for name, value in found.items()}
                return {name: value for name, value in named.items() if name[:1] != "\0"}
        raise Unreadable(f"{len(stored)} bytes that are not {self._readable} as a mapping")

    def retire(self, sid: str, seconds: int) -> Exchange[bool]:
        """Let a converted session end soon: old workers find it until then. Idempotent.

        False: it had less time left, or was gone.
        """
        key = self.key(sid)
        command = ("EXPIRE", key, seconds, "LT")
        return Exchange(FEATURE, key, (command,), _yes, idempotent=True, deferrable=True)

    def remove(self, sid: str) -> Exchange[bool]:
        """Remove a session: its visitor has logged out. False: there was none. Idempotent.

        ``GETDEL``, unlike ``UNLINK``, refuses what is no string: another program's, so it stays.
        """
        key = self.key(sid)
        return _Removing(FEATURE, key, (("GETDEL", key),), _yes, idempotent=True, deferrable=True)

    def key(self, sid: str) -> str:
        """Where Flask-Session keeps the session with this id (not the hashed one)."""
        return self.prefix + sid


def legacy_store(context: Context[SessionsConfig]) -> LegacyStore:
    """The exchanges with what Flask-Session left behind for an application. ``ConfigError``."""
    config = context.config
    # Flask's own interface has one, too, of its cookies
    serializer = getattr(context.app.session_interface, "serializer", None)
    serializer = serializer if is_ours(context) else None
    return LegacyStore(config.key_prefix, config.serialization_format, serializer)


def _reader_of(serializer: object) -> Callable[[bytes], Any]:
    """How an application's serializer reads: Flask-Session 0.8 says ``decode``, later ``loads``."""
    read = getattr(serializer, "decode", None) or getattr(serializer, "loads", None)
    if not callable(read):
        raise ConfigError(
            f"app.session_interface.serializer = {serializer!r} can't read sessions: it needs a "
            "method decode(), or loads(), as Flask-Session's serializers have."
        )

    def reads(stored: bytes) -> Any:
        try:
            return read(stored)
        except Exception as error:
            raise ValueError(f"{type(serializer).__name__}: {error}") from error

    return reads


def place_of(client: object) -> str | None:
    """Where a redis-py client of Flask-Session's connects to; None if it doesn't tell."""
    pool = getattr(client, "connection_pool", None)
    kwargs = getattr(pool, "connection_kwargs", None)
    if not isinstance(kwargs, dict) or "host" not in kwargs:
        return None
    return f"{kwargs['host']}:{kwargs.get('port', 6379)}/{kwargs.get('db') or 0}"


def _is_of_another_type(reply: Reply) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")


def _yes(replies: list[Reply]) -> bool:
    return bool(replies[0])
