"""Signals of the kit (blinker). A signal nobody listens to costs one attribute look-up.

A listener runs in the thread that sends, before the caller gets its answer: be quick. None of them
carries a key or a value. ``core/observer.py`` is a listener for one application.
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

trip = _signals.signal("redis-kit-trip")
"""A round trip ended. Sender: the wire. ``commands`` (a count), ``seconds``, ``error`` or None;
``error_replies``: what the server said to single commands, unless the trip failed as a whole."""

retried = _signals.signal("redis-kit-retried")
"""Commands are sent again. Sender: the wire. ``commands`` (a count), ``reason``: "broken" (the
connection broke before the reply) or "refused" (the server did not run them: an unknown script, a
master that is none any more, a slot that moved)."""

refused = _signals.signal("redis-kit-refused")
"""The open circuit breaker let nothing through, so there was no trip. Sender: the breaker.
``address``."""

breaker_changed = _signals.signal("redis-kit-breaker-changed")
"""The circuit breaker of a server changed. Sender: the breaker. ``state``: "open" or "closed";
``address``."""

counted = _signals.signal("redis-kit-counted")
"""A feature counted something. Sender: the counters of the application. ``feature``; ``subject``, a
name of the user's such as a key prefix or a policy; ``outcome``; ``amount``."""

job_progress = _signals.signal("redis-kit-job-progress")
"""A job moved on. Sender: the queue's engine. ``job_id``, ``state``, ``progress`` (0..1), ``note``,
``user`` (whom to tell, or None). The kit turns it into an event."""
