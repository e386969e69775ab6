"""Signals of the rate limits (blinker), by policy and never by key. The sender is the application.

A listener runs in the thread that serves the request, before it goes on: be quick. Each gets
``policy`` (as counters name it) and ``result`` (a ``RateLimitResult``), and what is named below.
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

limit_admitted = _signals.signal("redis-kit-limit-admitted")
"""A limit admitted a call and counted it."""

limit_near = _signals.signal("redis-kit-limit-near")
"""This call brought a limit to 80 % of its use or above. Once on the way up, for each identity."""

limit_refused = _signals.signal("redis-kit-limit-refused")
"""A limit refused a call. ``locally``: it was known to hold, and the server was not asked."""

limit_shadow_exceeded = _signals.signal("redis-kit-limit-shadow-exceeded")
"""A shadow limit would have refused a call."""

limit_failed = _signals.signal("redis-kit-limit-failed")
"""A limit could not be checked at the server. ``error``; ``outcome``: "open", "closed", "local"."""
