"""What the proxy does to the bytes that pass: one state, shared by all its connections."""

from __future__ import annotations

import threading


class Faults:
    """The faults in force. Every method is safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """No faults."""
        with self._lock:
            self.delay = 0.0
            self.drop_requests = False
            self.drop_all_replies = False
            self._drop_replies = 0
            self._cut_after: int | None = None
            self._cut_handshakes = 0
            self._rewrites: tuple[tuple[bytes, bytes], ...] = ()

    def set_drop_replies(self, n: int | None) -> None:
        """Lose the replies of the next ``n`` trips, or all replies."""
        with self._lock:
            self.drop_all_replies = n is None
            self._drop_replies = n or 0

    def set_cut_after(self, size: int) -> None:
        """Cut when ``size`` more bytes of replies passed."""
        with self._lock:
            self._cut_after = size

    def set_cut_handshakes(self, n: int) -> None:
        """Cut the next ``n`` connections that shake hands."""
        with self._lock:
            self._cut_handshakes = n

    def add_rewrite(self, old: bytes, new: bytes) -> None:
        """Replace ``old`` by ``new`` in replies."""
        with self._lock:
            self._rewrites = (*self._rewrites, (old, new))

    def drops_trip(self) -> bool:
        """Whether to lose the replies of the trip that begin now; counts against ``n``."""
        with self._lock:
            if not self._drop_replies:
                return False
            self._drop_replies -= 1
            return True

    def cuts_handshake(self) -> bool:
        """Whether to cut the connection whose handshake is answered now; counts against ``n``."""
        with self._lock:
            if not self._cut_handshakes:
                return False
            self._cut_handshakes -= 1
            return True

    def passes(self, size: int) -> int | None:
        """How many of ``size`` bytes may pass before the cut; None if all may and there is none."""
        with self._lock:
            if self._cut_after is None:
                return None
            if size < self._cut_after:
                self._cut_after -= size
                return None
            allowed, self._cut_after = self._cut_after, None
            return allowed

    def rewritten(self, data: bytes) -> tuple[bytes, bytes]:
        """``data`` with the replacements made, and its end if that may begin a match."""
        held = 0
        for old, new in self._rewrites:
            data = data.replace(old, new)
            if not data.endswith(b"\r\n"):  # else a reply ends here, and nothing may follow
                sizes = range(min(len(old) - 1, len(data)), 0, -1)
                held = max(held, next((n for n in sizes if data.endswith(old[:n])), 0))
        return data[: len(data) - held], data[len(data) - held :]
