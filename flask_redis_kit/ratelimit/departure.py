"""The end of a limited request: what was not reached is asked, refunds, leases, headers."""

from __future__ import annotations

import logging
from functools import partial

from flask import Flask, Response, request

from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.headers import add_clean
from flask_redis_kit.ratelimit.answer import (
    RateLimitExceeded,
    RateLimitUnavailable,
    retry_after,
    whole_seconds,
)
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.gate import Gate
from flask_redis_kit.ratelimit.headers import NAMES, limit_headers
from flask_redis_kit.ratelimit.leased_body import LeasedBody
from flask_redis_kit.ratelimit.ledger import Entry, Ledger

logger = logging.getLogger("flask_redis_kit.ratelimit")


def depart(gate: Gate, app: Flask, response: Response) -> Response:
    """The response as it leaves: it may be another one, if only now a limit refuses."""
    ledger = gate.opened()
    if ledger is None or not ledger.entered:
        ledger = gate.overlooked(request) or ledger
    if ledger is None:
        return response
    _give_up_body(ledger, response)
    if ledger.outside:
        response = _asked_late(gate, app, ledger, response)
    if not ledger.entries:
        return response
    leases = gate.leave(ledger, response)
    if leases:
        _hold(gate, ledger, response, leases)
    _set_headers(gate, response, ledger)
    return response


def give_up(gate: Gate) -> None:
    """The request ends without a response of its own: an exception went through."""
    ledger = gate.opened()
    if ledger is not None and ledger.open and ledger.is_at_home():
        for entry in gate.leave(ledger, Response(status=500)):
            gate.limiter.release(entry.decision)


def _asked_late(gate: Gate, app: Flask, ledger: Ledger, response: Response) -> Response:
    """The view was not reached, whose decorator would have asked for the limits from outside.

    Somebody before it answered, or raised: that counts, too, or failed log-ins were unlimited.
    """
    try:
        gate.decide(ledger.take_outside(), ledger)
    except (RateLimitExceeded, RateLimitUnavailable) as refusal:
        return app.make_response(app.handle_user_exception(refusal))
    return response


def _give_up_body(ledger: Ledger, response: Response) -> None:
    """An error came after a streamed response was ready, and this one takes its place."""
    if ledger.streamed is not None and ledger.streamed[0] is not response:
        _, close = ledger.streamed
        ledger.streamed = None
        close()


def _hold(gate: Gate, ledger: Ledger, response: Response, leases: list[Entry]) -> None:
    """Release what the request holds: now, or when its streamed body is closed."""
    release = gate.limiter.release
    streamed = response.is_streamed or response.direct_passthrough
    # werkzeug streams the page of an error, too, and what it does not send
    if not streamed or response.status_code >= 400 or request.method == "HEAD":
        for entry in leases:
            release(entry.decision)
        return
    for entry in leases:
        seconds = min(c.limit.window for c in entry.decision.claims if c.limit.kind != "rate")
        response.response = body = LeasedBody(
            response.response,
            partial(release, entry.decision),
            partial(_renew, gate, entry.decision),
            seconds / 3,
        )
        ledger.streamed = response, body.close


def _renew(gate: Gate, decision: Decision) -> None:
    try:
        gate.limiter.renew(decision)
    except FAILURES as error:
        # the body goes on: it was admitted, and a place more than allowed is the lesser harm
        logger.warning("The lease of a streamed response could not be renewed: %s", error)


def _set_headers(gate: Gate, response: Response, ledger: Ledger) -> None:
    """How the limits of this request stand, and of no other: a stored response may have brought
    its own."""
    standings = list(ledger.standings().values())
    fields = limit_headers(standings, gate.context.config.headers)
    headers = response.headers
    if "ratelimit" in "\n".join([name for name, _ in headers]).lower():
        for name in [name for name, _ in headers if name.lower() in NAMES]:
            headers.remove(name)
    add_clean(headers, fields)
    refusal = ledger.refusal
    if refusal is not None and refusal.refused and response.status_code == 429:
        headers["Retry-After"] = str(whole_seconds(retry_after(refusal.refused)))
        headers["Cache-Control"] = "no-store"
