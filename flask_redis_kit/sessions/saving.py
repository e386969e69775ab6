"""Decides at the end of a request what is sent for its session, and what the cookie becomes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.request import RequestBatch
from flask_redis_kit.sessions.changes import Changes
from flask_redis_kit.sessions.contents import Contents
from flask_redis_kit.sessions.cookie import Cookie
from flask_redis_kit.sessions.ids import new_incarnation
from flask_redis_kit.sessions.record import DESTROYED, Device, Loaded
from flask_redis_kit.sessions.span import Span, lasts_as_it_is, needs_nothing, owner_stays
from flask_redis_kit.sessions.steps import Steps, Verdict
from flask_redis_kit.sessions.store import Lock, SessionStore

log = logging.getLogger("flask_redis_kit.sessions")


class Saving:
    """Saves the session of one request, in the one trip that ends the request.

    ``lifetime``  how long a session lives without being used, in seconds.
    ``device``    tells what the session is used with.
    """

    def __init__(
        self,
        contents: Contents,
        store: SessionStore,
        batch: RequestBatch,
        lifetime: Callable[[], float],
        device: Callable[[], Device],
    ) -> None:
        self.store = store
        self.batch = batch
        self.decision: Cookie | None = None
        """None until it was saved; of a save that failed, what the error's response must do."""
        self._contents = contents
        self._lifetime = lifetime
        self._device = device
        self._so_far = Cookie.KEEP
        self._late = False
        self._held: tuple[str, str] | None = None
        self._depth = 0

    def run(self) -> Cookie:
        """Send what there is to send; the second call for a request only tells the decision.

        Raises what the server raised for a change that was not stored.
        """
        if self.decision is None:
            self.decision = self._so_far
            self._contents.saved = True
            verdict: Verdict = _keep
            try:
                verdict = self._plan(release=True)
                report = self.store.report() if verdict is not _keep else None
                if report is not None:
                    self.batch.defer(self.store.wire, report)
            finally:
                self.batch.finish()
            self.decision = verdict().after(self._so_far)
        return self.decision

    def commit(self, *, release: bool = False) -> None:
        """Save now; the request goes on. One round trip, none if there is nothing to save.

        After the response has begun only what needs no new cookie; else ``RuntimeError``.
        ``release``  give the session's lock back with it.
        """
        verdict: Verdict = _keep
        self._late = self.decision is not None
        try:
            verdict = self._plan(release=release)
        finally:
            self.batch.flush()
        self._so_far = verdict().after(self._so_far)

    @property
    def seconds(self) -> float:
        """How long the session lives from now on without being used."""
        return self._span().seconds

    # the session's lock, see exclusive.py

    def hold(self, session: str, token: str) -> None:
        """The lock of the session was taken with this token: the save gives it back."""
        self._held = session, token
        self._depth = 1
        self.batch.on_failure.append(self.unlock)

    def enter(self) -> bool:
        """Whether the lock is held already: then once more has to be left."""
        if self._held is None:
            return False
        self._depth += 1
        return True

    def leave(self) -> bool:
        """Whether the lock is to be given back now."""
        self._depth -= 1
        return self._held is not None and self._depth == 0

    def unlock(self) -> None:
        """Give the lock back without saving. A failure is logged: its time ends it, too."""
        exchange = self._unlocking()
        if exchange is not None:
            error = self.batch.call(self.store.wire, (exchange,))[0].error
            if error is not None:
                log.warning("a session stays locked until its time is over: %s", error)

    def _unlocking(self) -> Exchange[bool] | None:
        held, self._held = self._held, None
        return None if held is None else self.store.unlock(*held)

    def _lock(self, session: str, *, release: bool) -> Lock | None:
        """What guards a write: nothing is written once the lock is another's."""
        if self._held is None or self._held[0] != session:
            return None
        token = self._held[1]
        if release:
            self._held = None
        return Lock(token, release)

    # the plan

    def _plan(self, *, release: bool) -> Verdict:
        try:
            verdict = self._step(release=release)
        finally:
            unlocking = self._unlocking() if release and self._held is not None else None
            if unlocking is not None:
                self.batch.defer(self.store.wire, unlocking)
        return verdict

    def _step(self, *, release: bool) -> Verdict:
        contents, config = self._contents, self.store.config
        if not contents.ready():
            if config.touch_untouched and contents.loaded is None and contents.origin is not None:
                return self._steps.touch(contents.origin, self._lifetime())
            return _keep
        if contents.degraded:
            return self._end_unseen() if contents.ended else _keep
        if contents.ended:
            return self._begin_anew()
        changes, found = contents.changes(), contents.loaded_now
        if found.incarnation is not None and not contents.asks and lasts_as_it_is(config, found):
            idle = self._lifetime()
            if not (changes or contents.written):
                if needs_nothing(config, found, idle):
                    return _keep
            elif self._is_plain(changes, found, idle):
                return self._steps.write(idle, changes)
        span = self._span()
        if found.incarnation is None:
            return self._begin(span, changes)
        identity = changes.concern(self.store.identity)
        if changes.removed and contents.empty:
            if identity or contents.rotated:
                return self._end()
            # the last key that this request knows of: an end, if there is no other
            return self._save(span, changes, DESTROYED + new_incarnation(), release=release)
        if contents.rotated or identity or (span.renewal_due and not self._late):
            self._refuse_late_cookie()
            return self._steps.rotate(span, changes, anew=identity and span.user is not None)
        wanted = bool(changes) or contents.forced or (config.sliding and span.due)
        if wanted or (contents.written and span.changed(entry=False)):
            return self._save(span, changes, b"", release=release)
        return _keep

    def _is_plain(self, changes: Changes, found: Loaded, idle: float) -> bool:
        """Whether fields were set, and that is all: the common case, decided fast."""
        changed, removed = changes
        if removed or not changed or self._held is not None:
            return False
        contents, store = self._contents, self.store
        if changes.concern(store.identity):
            return False
        keys = store.config.identity_keys
        return owner_stays(found, contents.fields, keys, lambda: contents.user, idle)

    def _span(self) -> Span:
        contents = self._contents
        return Span(
            self.store.config,
            contents.loaded_now,
            idle=self._lifetime(),
            life=contents.life,
            user=lambda: contents.user,
            device=self._device,
        )

    @property
    def _steps(self) -> Steps:
        return Steps(self._contents, self.store, self.batch)

    def _begin(self, span: Span, changes: Changes) -> Verdict:
        """There is no session yet."""
        contents = self._contents
        if contents.empty:
            return _keep
        if contents.loaded_now.rotated and span.user is None:
            # the browser has, or is about to get, the cookie of a login: don't overwrite it
            session = contents.session
            return lambda: self._steps.interrupted(session, "ended")
        self._refuse_late_cookie()
        return self._steps.create(span, changes, contents.sid)

    def _begin_anew(self) -> Verdict:
        """``clear()`` ended the old session; what was set since is a new one."""
        contents = self._contents
        created = None
        try:
            if not contents.empty:
                self._refuse_late_cookie()
                created = self._steps.create(self._span(), contents.changes(), contents.sid)
        finally:  # the old one ends even if the new one can't be stored
            ended = self._end()

        def verdict() -> Cookie:
            try:
                cookie = Cookie.DELETE if created is None else created()
            finally:
                ended()
            if created is None:
                contents.over()
            return cookie if cookie is Cookie.SET else Cookie.DELETE

        return verdict

    def _end(self) -> Verdict:
        contents = self._contents
        if self.decision is not None:
            # whoever wants an end must not keep the cookie, come what may
            self.decision = Cookie.DELETE
        if contents.origin is None:
            return _delete
        known = contents.ending if contents.ended else contents.loaded_now
        return self._steps.end(contents.origin, known)

    def _end_unseen(self) -> Verdict:
        """It counts as empty as it could not be read; a logout is tried all the same."""
        contents = self._contents
        if contents.origin is None:
            return _keep
        ended = self._steps.end(contents.origin, contents.ending)

        def verdict() -> Cookie:
            ended()
            return Cookie.KEEP

        return verdict

    def _save(self, span: Span, changes: Changes, tombstone: bytes, *, release: bool) -> Verdict:
        if tombstone and self.decision is not None:
            # if it can't be sent, whoever removed the last key must not keep the cookie
            self.decision = Cookie.DELETE
        lock = self._lock(self._contents.session, release=release)
        verdict = self._steps.save(span, changes, tombstone=tombstone, lock=lock)
        if lock is None:
            return verdict

        def settled() -> Cookie:
            try:
                return verdict()
            except FAILURES:
                if lock.release:
                    self._held = self._contents.session, lock.token
                    with suppress(*FAILURES):
                        self.unlock()
                raise

        return settled

    def _refuse_late_cookie(self) -> None:
        if self._late:
            raise RuntimeError(
                "The response has begun, so the browser can't be given the cookie of a new "
                "session, or of another id, any more: write to the session before."
            )


def _keep() -> Cookie:
    return Cookie.KEEP


def _delete() -> Cookie:
    return Cookie.DELETE
