"""Descriptors that a forked child must not keep: those of an unfinished start or join.

A child that inherited the directory's lock, or the FIFO's read end, would go on holding it for
its whole life. So a fork waits while a descriptor is being opened or closed, and the child closes
all that were open then.
"""

from __future__ import annotations

import os
import threading

# reentrant: a signal handler that forks may interrupt the thread that holds it
_forking = threading.RLock()
_open: set[int] = set()


def open_private(path: str, flags: int, mode: int = 0o600) -> int:
    """Open ``path``; the descriptor is closed in children, forked and executed ones."""
    with _forking:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        _open.add(descriptor)
        return descriptor


def close(descriptor: int) -> None:
    """Close a descriptor of either kind."""
    with _forking:
        _open.discard(descriptor)
        os.close(descriptor)


def share(descriptor: int) -> None:
    """From now on forked children (not executed ones) inherit ``descriptor``."""
    with _forking:
        _open.discard(descriptor)


def _close_in_child() -> None:
    global _forking
    _forking = threading.RLock()
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(
    before=lambda: _forking.acquire(),
    after_in_parent=lambda: _forking.release(),
    after_in_child=_close_in_child,
)
