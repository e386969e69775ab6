"""Signals of the sessions (blinker). Sessions are named by the hash of their id, never the id."""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

session_interrupted = _signals.signal("redis-kit-session-interrupted")
"""A request's changes were dropped, as its session ended meanwhile. Sender: the store.
``session``: the hashed id."""

session_unreadable = _signals.signal("redis-kit-session-unreadable")
"""A stored session, or a field of one, can't be read and counts as absent. Sender: the store.
``session``: the hashed id; ``field``: its name, or None for all of it; ``error``."""
