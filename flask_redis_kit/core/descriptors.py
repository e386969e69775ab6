"""Descriptors that a forked child must not keep: those of an unfinished start or join.

A child that inherited the directory's lock, or the FIFO's read end, would go on holding it for
its whole life. So a fork waits while a descriptor is being opened or closed, and the child closes
all that were private then.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# reentrant: a signal handler that forks may interrupt the thread that holds it
_forking = threading.RLock()
_private: set[int] = set()


@contextmanager
def fork_waits() -> Iterator[None]:
    """What happens inside, no forked child sees half done. Nothing in it may wait."""
    with _forking:
        yield


@contextmanager
def handed_over() -> Iterator[None]:
    """The child that this thread forks inside keeps all descriptors; other threads' forks wait."""
    with _forking:
        private = set(_private)
        _private.clear()
        try:
            yield
        finally:
            _private.update(private)


def open_private(path: str, flags: int) -> int:
    """Open ``path`` (made with mode 0600) so that neither forked nor executed children get it."""
    with _forking:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _private.add(descriptor)
        return descriptor


def close(descriptor: int) -> None:
    """Close a descriptor, private or shared."""
    with _forking:
        _private.discard(descriptor)
        os.close(descriptor)


def share(descriptor: int) -> None:
    """From now on forked children (not executed ones) inherit ``descriptor``."""
    with _forking:
        _private.discard(descriptor)


def _close_in_child() -> None:
    global _forking  # the lock of the parent may be held by a thread that is not here
    _forking = threading.RLock()
    for descriptor in _private:
        os.close(descriptor)
    _private.clear()


os.register_at_fork(
    before=lambda: _forking.acquire(),
    after_in_parent=lambda: _forking.release(),
    after_in_child=_close_in_child,
)
