"""The object behind ``flask.session``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask.sessions import SessionMixin

from flask_redis_kit.sessions.contents import Contents
from flask_redis_kit.sessions.saving import Saving


class RedisSession(SessionMixin):
    """A mapping that is loaded when it is first read, and saved field by field.

    One round trip at the first use of its data, shared with whatever the request needs first; none
    for ``sid``, ``clear()`` and setting ``permanent``. Keys are str, values what the kit's codec
    knows. Changes inside a value (``session["cart"].append(1)``) are saved too. Any use may raise
    ``SessionStoreUnavailable``. Safe to share with threads of the same request.
    """

    accessed = False
    tracks_access = True
    """``accessed`` tells of every way to read it."""

    def __init__(self, contents: Contents, saving: Saving | None = None) -> None:
        self.contents = contents
        self.saving = saving

    def __getitem__(self, key: str) -> Any:
        self.accessed = True
        return self.contents[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.accessed = True
        self.contents[key] = value

    def __delitem__(self, key: str) -> None:
        self.accessed = True
        del self.contents[key]

    def __iter__(self) -> Iterator[str]:
        self.accessed = True
        return iter(self.contents.keys())

    def __len__(self) -> int:
        self.accessed = True
        return len(self.contents.keys())

    def clear(self) -> None:
        """End this session: a logout. What is set afterwards begins a new one, with a new id.

        Needs no load: one round trip at the end of the request.
        """
        self.accessed = True
        self.contents.clear()

    def destroy(self) -> None:
        """The same as ``clear()``."""
        self.clear()

    def regenerate(self) -> None:
        """Give the session a new id and keep its data; the old id is dead after this request.

        A change of ``session["_user_id"]`` or ``session["user_id"]`` does it by itself, and so does
        setting something after ``clear()``.
        """
        self.accessed = True
        self.contents.regenerate()

    @property
    def sid(self) -> str:
        """The id in the cookie: a secret. It changes at the end of a request that logs in."""
        self.accessed = True  # a page that shows it is this visitor's alone
        return self.contents.sid

    @property
    def new(self) -> bool:  # type: ignore[override]  # a plain attribute there
        """Whether the server holds nothing under this id yet. Loads."""
        self.accessed = True
        return not self.contents.stored

    @property
    def is_new(self) -> bool:
        """The same as ``new``."""
        return self.new

    @property
    def modified(self) -> bool:
        """Whether a key was set or deleted. Set it True to send the cookie again."""
        return self.contents.written or self.contents.forced

    @modified.setter
    def modified(self, value: bool) -> None:
        self.contents.forced = bool(value)

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser; stored as ``session["_permanent"]``."""
        self.accessed = True
        return self.contents.permanent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self.accessed = True
        self.contents.permanent = value

    def __repr__(self) -> str:
        if self.contents.loaded is None:
            return "<RedisSession, not loaded>"
        return f"<RedisSession {dict(self)!r}>"
