"""Signals of the kit (blinker). A signal nobody listens to costs one attribute look-up."""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

trip = _signals.signal("redis-kit-trip")
"""A round trip ended. Sender: the wire. ``commands`` (a count), ``seconds``, ``error`` or None."""

breaker_changed = _signals.signal("redis-kit-breaker-changed")
"""The circuit breaker of a server changed. Sender: the breaker. ``state``: "open" or "closed"."""

job_progress = _signals.signal("redis-kit-job-progress")
"""A job moved on. Sender: the queue's engine. ``job_id``, ``state``, ``progress`` (0..1), ``note``,
``user`` (whom to tell, or None). The kit turns it into an event."""
