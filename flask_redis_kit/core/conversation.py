"""Commands out and replies in on a connection, without redis-py's ceremony for each of them.

A pipeline is packed by hiredis into one write, and its replies are parsed from as few reads as they
come in. Replies are bytes, numbers, lists, dicts and None; an error reply is its exception, in its
place. The connection stays redis-py's: it connects, shakes hands and reconnects.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from flask_redis_kit.core.script import Arg

_CHUNK = 65536
_MORE = object()


class Prepared(tuple[Arg, ...]):
    """A command of an Exchange that is kept and sent again and again: packed once, when made."""

    packed: bytes
    """As it goes over the wire."""

    def __new__(cls, *command: Arg) -> Prepared:
        made = super().__new__(cls, command)
        made.packed = hiredis.pack_command(command)  # type: ignore[arg-type]
        return made


def write(connection: Any, commands: Iterable[tuple[Arg, ...] | bytes]) -> None:
    """Send commands, or the bytes of packed ones, in one write.

    Raises ``OSError``, or redis-py's ``ConnectionError``.
    """
    sock = connection._sock
    if sock is None:
        raise RedisConnectionError("it was closed meanwhile")
    packed = [
        command
        if isinstance(command, bytes)
        else command.packed
        if type(command) is Prepared
        else hiredis.pack_command(command)  # type: ignore[arg-type]
        for command in commands
    ]
    sock.sendall(b"".join(packed))


def read(connection: Any, count: int) -> list[Any]:
    """The next ``count`` replies. Raises ``OSError``, or redis-py's ``ConnectionError``."""
    reader, buffer = _reader_of(connection)
    replies: list[Any] = []
    while len(replies) < count:
        reply = reader.gets(False)
        if reply is _MORE:
            _fill(connection, reader, buffer)
            continue
        if isinstance(reply, RedisConnectionError):
            raise reply  # the server says of itself that it can't serve: LOADING and the like
        replies.append(reply)
    if connection.health_check_interval:
        connection.next_health_check = time.monotonic() + connection.health_check_interval
    return replies


def has_unread(connection: Any) -> bool:
    """True if replies that nobody asked for were received."""
    kept = connection.__dict__.get("_kit_reader")
    return kept is not None and kept[0] is connection._sock and bool(kept[1].has_data())


def _fill(connection: Any, reader: hiredis.Reader, buffer: bytearray) -> None:
    sock = connection._sock
    received = sock.recv_into(buffer) if sock is not None else 0
    if not received:
        raise RedisConnectionError("Connection closed by server.")
    reader.feed(buffer, 0, received)  # type: ignore[arg-type]  # its stub knows no buffers


def _reader_of(connection: Any) -> tuple[hiredis.Reader, bytearray]:
    """The reader of the connection's present socket: a new socket starts with a clean one."""
    kept = connection.__dict__.get("_kit_reader")
    if kept is None or kept[0] is not connection._sock:
        reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_MORE,
        )
        kept = connection._kit_reader = (connection._sock, reader, bytearray(_CHUNK))
    return kept[1], kept[2]
