"""A browser's EventSource over raw HTTP, as the HTML standard (9.2.6) has it; one connection."""

from __future__ import annotations

import http.client
import json
import re
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

_LINE = re.compile(rb"(.*?)(?:\r\n|\r(?=.)|\n)", re.DOTALL)


class Received(NamedTuple):
    """One dispatched event."""

    type: str
    data: str
    last_event_id: str

    @property
    def content(self) -> Any:
        """Its data as JSON."""
        return json.loads(self.data)


class EventParser:
    """Bytes to events, line by line as the standard says."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self.comments = 0
        self._buffer = b""
        self._id = ""
        self._type = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Received]:
        """The events that this completes."""
        self._buffer += chunk
        end = 0
        for match in _LINE.finditer(self._buffer):
            end = match.end()
            event = self._line(match[1].decode())
            if event is not None:
                yield event
        self._buffer = self._buffer[end:]

    def _line(self, line: str) -> Received | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)
        return None

    def _dispatch(self) -> Received | None:
        self.last_event_id = self._id
        kind, data = self._type or "message", self._data
        self._type, self._data = "", []
        return Received(kind, "\n".join(data), self.last_event_id) if data else None


class Browser:
    """One open stream."""

    def __init__(
        self,
        port: int,
        path: str = "/events",
        last_event_id: str | None = None,
        *,
        timeout: float = 20,
        method: str = "GET",
    ) -> None:
        self.parser = EventParser()
        self._ready: deque[Received] = deque()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        self._connection.request(method, path, headers=headers)
        self.response = self._connection.getresponse()

    @property
    def last_event_id(self) -> str:
        """What it would come back with."""
        return self.parser.last_event_id

    def read(self) -> bool:
        """Wait for some bytes; False at the end of the stream."""
        chunk = self.response.read1(65536)
        self._ready.extend(self.parser.feed(chunk))
        return bool(chunk)

    def opened(self) -> Self:
        """Wait until the stream has said where it begins."""
        while not self.last_event_id:
            assert self.read(), "the stream ended before it began"
        return self

    def next(self) -> Received | None:
        """The next event; None at the end of the stream."""
        while not self._ready:
            if not self.read():
                return None
        return self._ready.popleft()

    def take(self, n: int) -> list[Any]:
        """The contents of the next ``n`` events."""
        found: list[Any] = []
        for _ in range(n):
            event = self.next()
            assert event is not None, f"the stream ended after {len(found)} of {n} events"
            found.append(event.content)
        return found

    def rest(self) -> list[Received]:
        """All events up to the end of the stream."""
        return list(iter(self.next, None))

    def close(self) -> None:
        """Go away."""
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
