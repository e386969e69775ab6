"""The sessions of a user: listing them, and ending them from elsewhere.

A user's index and his sessions lie in different keys, on Cluster in different slots, so nothing
that needs both is one step. What holds none the less, by the order of the steps:

- a session is entered before it is stored, so what lives is in the index;
- ending all of a user's sessions reads the index again until it finds none to end. What a rotation
  moved away was entered before the old session ended, so it is found then. A login that was not
  stored yet is refused by the tombstone;
- an entry is removed only if its session has ended, or was missing for longer than storing takes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.sessions.ids import is_id, new_incarnation
from flask_redis_kit.sessions.record import (
    NOTHING,
    REVOKED,
    Loaded,
    device_of,
    user_text,
)
from flask_redis_kit.sessions.store import SessionStore

log = logging.getLogger("flask_redis_kit.sessions")

SendMany = Callable[[Sequence[Exchange[Any]]], list[Outcome[Any]]]
_PASSES: Final = 10
"""How often the index is read before it is given up to end logins that keep coming."""


class SessionInfo(NamedTuple):
    """One session of a user, for a page of his devices.

    ``handle``      names it for ``kit.sessions.revoke``: the hash of its id, no secret.
    ``last_seen``   to within a sixtieth of its lifetime (one hour at most).
    ``idle``        seconds since then.
    ``user_agent``  as the browser calls itself; empty if it is not known, like ``ip``.
    ``expires_in``  seconds it still lives if it is not used.
    ``current``     whether it is the one of the request that asks.
    """

    handle: str
    created_at: datetime | None
    last_seen: datetime | None
    idle: float
    user_agent: str
    ip: str
    expires_in: float
    current: bool


class Devices:
    """What is done with the sessions of users. Each call goes through ``send_many``.

    ``least``  how long a new session's entry in the index lives at least, in seconds.
    """

    def __init__(self, store: SessionStore, send_many: SendMany, least: float) -> None:
        self._store = store
        self._send = send_many
        self._least = least

    def list(self, user: object, current: str | None = None) -> list[SessionInfo]:
        """The sessions of a user, the one used last first. Two round trips.

        One more if entries were left of sessions that have ended. ``current``: a hashed id.
        """
        name = user_text(user).decode()
        roll = self._send([self._store.index.read(name, self._least)])[0].result()
        found = self._look(name, roll)[0] if roll else {}
        now = datetime.now(UTC).timestamp()
        infos = [self._info(handle, each, now, current) for handle, each in found.items()]
        return sorted(infos, key=lambda info: (info.idle, info.handle))

    def revoke(self, handle: str, user: object = None) -> bool:
        """End one session; False: there was none, or it is not this user's. One round trip."""
        if not is_id(handle):
            return False
        owner = None if user is None else user_text(user).decode()
        destroy = self._store.destroy(handle, _tombstone(), user=owner)
        ended: bool = self._send([destroy])[0].result()
        if ended:
            self._store.revoked(handle, owner, "revoked")
        return ended

    def revoke_user(self, user: object, keep: str | None = None) -> int:
        """End all sessions of a user but ``keep``; how many. Three round trips, one if none."""
        name, index = user_text(user).decode(), self._store.index
        reading = index.read(name, self._least)
        roll = self._send([reading])[0].result()
        known, ended = {keep}, 0
        for _ in range(_PASSES):
            fresh = [handle for handle in roll if handle not in known]
            if not fresh:
                break
            known.update(fresh)
            ended += self._end(fresh, name, "revoked")
            roll = self._send([index.remove(name, fresh), reading])[1].result()
        return ended

    def thin(self, user: str, most: int | None, others: Mapping[str, bool]) -> None:
        """End what a user has beyond ``most`` sessions, those unused for longest.

        ``others``  what was entered before the session that is one too many; empty: none is.
        A failure is logged: the new session is stored already.
        """
        if not others or most is None:
            return
        try:
            self._thin(user, most, others)
        except FAILURES as error:
            log.warning("a user has more than %d sessions for now: %s", most, error)

    def _thin(self, user: str, most: int, others: Mapping[str, bool]) -> None:
        living, coming = self._look(user, others)
        by_use = sorted(living, key=lambda handle: _last_use(living[handle]))
        by_use += coming
        victims = by_use[: max(0, len(by_use) + 1 - most)]
        if victims:
            self._end(victims, user, "too many")
            self._remove(user, victims)

    def _look(self, user: str, roll: Mapping[str, bool]) -> tuple[dict[str, Loaded], Sequence[str]]:
        """What is stored of these sessions, and those that are about to be stored.

        Entries of those that have ended are removed.
        """
        store = self._store
        living, gone, coming = {}, [], []
        outcomes = self._send([store.glance(handle) for handle in roll])
        for (handle, settled), outcome in zip(roll.items(), outcomes, strict=True):
            found: Loaded = store.settled(handle, outcome, NOTHING)
            if found.incarnation is not None:
                living[handle] = found
            elif settled or found.ended:
                gone.append(handle)
            else:
                coming.append(handle)
        if gone:
            self._remove(user, gone)
        return living, coming

    def _end(self, handles: Sequence[str], user: str, reason: str) -> int:
        outcomes = self._send([self._store.destroy(handle, _tombstone()) for handle in handles])
        ended = 0
        for handle, outcome in zip(handles, outcomes, strict=True):
            if outcome.error is None and outcome.result():
                self._store.revoked(handle, user, reason)
                ended += 1
        for handle, outcome in zip(handles, outcomes, strict=True):
            self._store.settled(handle, outcome, False)  # the others have ended all the same
        return ended

    def _remove(self, user: str, handles: Sequence[str]) -> None:
        error = self._send([self._store.index.remove(user, handles)])[0].error
        if isinstance(error, FAILURES):
            log.warning("entries of ended sessions stay in a user's index for now: %s", error)
        elif error is not None:
            raise error

    def _info(self, handle: str, found: Loaded, now: float, current: str | None) -> SessionInfo:
        device = device_of(found.device)
        seen = found.seen
        return SessionInfo(
            handle,
            _moment(found.created),
            _moment(seen),
            0.0 if seen is None else max(0.0, now - seen),
            device.user_agent,
            device.address,
            found.seconds,
            handle == current,
        )


def _last_use(found: Loaded) -> tuple[float, float]:
    """When it was used last, in whole seconds; of several in one second the oldest comes first."""
    return found.seen or 0.0, found.renewed or 0.0


def _tombstone() -> bytes:
    """The incarnation lets the script know this ending when its call is sent again."""
    return REVOKED + new_incarnation()


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
