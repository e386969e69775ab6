"""Signals of the life of a session (blinker). It is named by the hash of its id, never the id.

Sender: the application's ``SessionStore``, which is ``kit.sessions.engine()``. Every signal has
``session``, the hashed id. They are sent once the server has done it, in the thread of the request.
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

session_created = _signals.signal("redis-kit-session-created")
"""A new session was stored. ``user``: whose it is as text, or None."""

session_adopted = _signals.signal("redis-kit-session-adopted")
"""A session of Flask-Session became one of the kit's. ``user``."""

session_rotated = _signals.signal("redis-kit-session-rotated")
"""A session got another id: a login, ``regenerate()``, or its id was old. ``previous``: the hash of
the old one; ``user``."""

session_destroyed = _signals.signal("redis-kit-session-destroyed")
"""A session ended by ``clear()``, or as its last key was removed."""

session_revoked = _signals.signal("redis-kit-session-revoked")
"""A session was ended from elsewhere. ``user``; ``reason``: "revoked", or "too many" for one of
more than ``SESSION_MAX_PER_USER``."""

session_interrupted = _signals.signal("redis-kit-session-interrupted")
"""A request's changes were dropped. ``reason``: "ended" (the session ended, or got another id,
meanwhile), "overtaken" (``exclusive`` lasted longer than its ``ttl``), "unavailable" (they could
not be stored, and ``SESSION_ON_SAVE_ERROR`` is "drop")."""

session_rejected = _signals.signal("redis-kit-session-rejected")
"""A cookie was no session. ``session`` is None for what can't be an id. ``reason``: "malformed",
"unknown" (never given out, expired, or ended more than a minute ago) or "ended"."""

session_unreadable = _signals.signal("redis-kit-session-unreadable")
"""A stored session, or a field of one, can't be read and counts as absent. ``field``: its name, or
None for all of it; ``error``."""
