"""Reading the commands out of the bytes that a client sends."""

from __future__ import annotations

Command = tuple[bytes, ...]

_HANDSHAKE = {b"HELLO", b"AUTH", b"SELECT", b"PING"}
_HANDSHAKE_OF_CLIENT = {b"SETINFO", b"SETNAME", b"MAINT_NOTIFICATIONS"}


def is_handshake(command: Command) -> bool:
    """Whether a connection sends it by itself, so that it is not part of an operation's cost."""
    name = command[0].upper()
    if name == b"CLIENT":
        return len(command) > 1 and command[1].upper() in _HANDSHAKE_OF_CLIENT
    return name in _HANDSHAKE


class RequestParser:
    """RESP request arrays, fed in pieces of any size. It gives up at anything else (TLS, say)."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._arguments: list[bytes] = []
        self._missing = 0
        self.understood = True

    @property
    def partial(self) -> bool:
        """Whether a command has begun and not ended."""
        return bool(self._buffer) or self._missing > 0

    def feed(self, data: bytes) -> list[Command]:
        """The commands that ``data`` completes."""
        if not self.understood:
            return []
        self._buffer += data
        if self._buffer[0] not in b"*$":
            self._give_up()
            return []
        commands: list[Command] = []
        position = 0
        while (end := self._buffer.find(b"\r\n", position)) >= 0:
            head = bytes(self._buffer[position:end])
            if not head[1:].isdigit():
                self._give_up()
                return commands
            if head[:1] == b"*":
                self._missing = int(head[1:])
                position = end + 2
                continue
            start, stop = end + 2, end + 2 + int(head[1:])
            if len(self._buffer) < stop + 2:
                break
            self._arguments.append(bytes(self._buffer[start:stop]))
            position = stop + 2
            self._missing -= 1
            if self._missing == 0:
                commands.append(tuple(self._arguments))
                self._arguments = []
        del self._buffer[:position]
        return commands

    def _give_up(self) -> None:
        self.understood = False
        self._buffer.clear()
        self._missing = 0
