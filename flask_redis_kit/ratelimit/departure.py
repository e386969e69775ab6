"""The end of a limited request: what was not reached is asked, refunds, leases, headers."""

from __future__ import annotations

import logging
import sys
from functools import partial

from flask import Flask, Response, request

from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.headers import replace_clean
from flask_redis_kit.ratelimit.answer import (
    RateLimitExceeded,
    RateLimitUnavailable,
    retry_after,
    whole_seconds,
)
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.gate import Gate
from flask_redis_kit.ratelimit.headers import NAMES, Field, limit_headers
from flask_redis_kit.ratelimit.leased_body import LeasedBody
from flask_redis_kit.ratelimit.ledger import Entry, Ledger

logger = logging.getLogger("flask_redis_kit.ratelimit")

_NAMES_OF_REFUSALS = NAMES | {"retry-after", "cache-control"}


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


def give_up(gate: Gate, error: BaseException | None) -> None:
    """The request is over. If an exception went through, it ends without a response of its own.

    ``error``  as Flask tells it: also one that was answered by now, and then it is not under way.
    """
    ledger = gate.opened()
    if ledger is None or not (ledger.open or ledger.streamed) or not ledger.is_at_home():
        return
    for entry in gate.leave(ledger, Response(status=500)) if ledger.open else ():
        gate.limiter.release(entry.decision)
    ledger.let_go(unsent=error is not None and sys.exc_info()[1] is error)


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
        _, body = ledger.streamed
        ledger.streamed = None
        body.close()


def _hold(gate: Gate, ledger: Ledger, response: Response, leases: list[Entry]) -> None:
    """Release what the request holds: now, or when its streamed body is closed."""
    decisions = [entry.decision for entry in leases]

    def release() -> None:
        for decision in decisions:
            gate.limiter.release(decision)

    streamed = response.is_streamed or response.direct_passthrough
    # werkzeug streams the page of an error, too, and what it does not send
    if not streamed or response.status_code >= 400 or request.method == "HEAD":
        release()
        return
    seconds = min(c.limit.window for d in decisions for c in d.claims if c.limit.kind != "rate")
    renew = partial(_renew, gate, decisions)
    response.response = body = LeasedBody(response.response, release, renew, seconds / 3)
    response.call_on_close(body.place.give_back)  # a hook may put another body into its place
    ledger.streamed = response, body


def _renew(gate: Gate, decisions: list[Decision]) -> None:
    for decision in decisions:
        try:
            gate.limiter.renew(decision)
        except FAILURES as error:
            # the body goes on: it was admitted, and a place more than allowed is the lesser harm
            logger.warning("The lease of a streamed response could not be renewed: %s", error)


def _fields(ledger: Ledger, dialects: tuple[str, ...]) -> list[Field]:
    if len(ledger.entries) == 1:
        decision, petition = ledger.entries[0]
        if decision.verdict is not None or decision.known:
            return petition.headers(decision, dialects)
    return limit_headers(list(ledger.standings().values()), dialects)


def _set_headers(gate: Gate, response: Response, ledger: Ledger) -> None:
    """How the limits of this request stand, and of no other: a stored response may have brought
    its own."""
    fields = _fields(ledger, gate.context.config.headers)
    others = NAMES
    refusal = ledger.refusal
    if refusal is not None and refusal.refused and response.status_code == 429:
        others = _NAMES_OF_REFUSALS
        seconds = whole_seconds(retry_after(refusal.refused))
        fields += (("Retry-After", str(seconds)), ("Cache-Control", "no-store"))
    replace_clean(response.headers, others, fields)
