"""A visitor's browser: cookies, a cache that asks again by ETag, and a live feed held open."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from html import unescape
from http.cookiejar import CookieJar
from typing import Any, Self

TIMEOUT = 20.0


@dataclass
class Page:
    """What a browser shows. ``cached``: the server said 304, and the body is the copy kept."""

    url: str
    status: int
    headers: Message
    html: str
    cached: bool = False

    @property
    def path(self) -> str:
        """Where it ended after redirects."""
        return urllib.parse.urlsplit(self.url).path

    @property
    def visitor(self) -> str | None:
        """The name it greets."""
        found = re.search(r"Hello, <b>(.*?)</b>", self.html)
        return unescape(found[1]) if found else None

    @property
    def sold(self) -> int:
        """How often the book was sold, on its page."""
        found = re.search(r'id="sold">([\d,]+)<', self.html)
        assert found, self.html
        return int(found[1].replace(",", ""))

    def fact(self, name: str) -> str | None:
        """What the footer shows, from the Server-Timing header."""
        found = re.search(rf'{name};desc="(.*?)"', self.headers.get("Server-Timing", ""))
        return found[1] if found else None


class Browser:
    """One visitor of the shop on this port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._jar = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._jar))
        self._copies: dict[str, Page] = {}

    def get(self, path: str) -> Page:
        """Open a page; a copy that the server calls current is used again."""
        copy = self._copies.get(path)
        headers = {"If-None-Match": copy.headers["ETag"]} if copy else {}
        page = self._open(path, None, headers)
        if page.status == http.HTTPStatus.NOT_MODIFIED:
            assert copy
            return Page(page.url, copy.status, page.headers, copy.html, cached=True)
        if page.headers["ETag"] and page.path == urllib.parse.urlsplit(path).path:
            self._copies[path] = page
        return page

    def post(self, path: str, **fields: str) -> Page:
        """Send a form and follow where it leads, without the cache."""
        return self._open(path, urllib.parse.urlencode(fields).encode(), {})

    def log_in(self, name: str) -> Page:
        """Log in by the form."""
        return self.post("/login", name=name)

    def feed(self) -> Feed:
        """Listen to the live feed, with this browser's cookies."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._jar)
        return Feed(self.port, {"Cookie": cookies} if cookies else {})

    def _open(self, path: str, data: bytes | None, headers: dict[str, str]) -> Page:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        request.add_header("Accept", "text/html")
        try:
            response = self._opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            html = response.read().decode()
            return Page(response.url, response.status, response.headers, html)


class Feed:
    """An open live feed; ``events`` grows as they arrive: (type, data)."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self.events: list[tuple[str, Any]] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._connection.request("GET", "/events", headers=headers)
        assert isinstance(self._connection.sock, socket.socket)
        self._socket = self._connection.sock
        self._response = self._connection.getresponse()
        assert self._response.status == http.HTTPStatus.OK
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def of_type(self, kind: str) -> list[Any]:
        """The data of all events of a type so far."""
        return [data for type_, data in self.events if type_ == kind]

    @property
    def over(self) -> bool:
        """Whether the server has ended it."""
        return not self._thread.is_alive()

    def leave(self) -> None:
        """Close the tab."""
        with suppress(OSError):  # the server may have closed it already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(TIMEOUT)
        self._response.close()
        self._connection.close()

    def _listen(self) -> None:
        kind = ""
        with suppress(OSError, http.client.HTTPException):  # when we leave
            for line in self._response:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self.events.append((kind, json.loads(value)["data"]))
