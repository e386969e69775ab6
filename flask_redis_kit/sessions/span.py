"""How long a session lives, and the kit's own fields that say so and whose it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask_redis_kit.sessions.changes import Changes
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.fields import Fields
from flask_redis_kit.sessions.record import (
    CREATED,
    DEADLINE,
    LIFE,
    OWNER,
    Device,
    Loaded,
    Owner,
    user_text,
)

_SKEW = 60.0
"""Seconds by which the clocks of the application's machines may differ."""


def slide_interval(idle: float) -> float:
    """How often a session that is only read is prolonged, in seconds: 60 times in its life."""
    interval = idle / 60
    if interval > 3600.0:
        return 3600.0
    return interval if interval > 1.0 else 1.0


def deadline_of(config: SessionsConfig, found: Loaded) -> float | None:
    """When it ends at the latest, in seconds since 1970.

    What was stored when it began, or what the application says by now if that is sooner.
    """
    stored, most = found.number(DEADLINE), config.absolute_timeout
    created = None if most is None else found.created
    if most is None or created is None:
        return stored
    limit = created + most
    return limit if stored is None or limit < stored - _SKEW else stored


def deadline_passed(config: SessionsConfig, found: Loaded) -> bool:
    """Whether it lives beyond its end: only where ``SESSION_ABSOLUTE_TIMEOUT`` came later."""
    if config.absolute_timeout is None:
        return False
    deadline = deadline_of(config, found)
    return deadline is not None and deadline + _SKEW < time.time()


def lasts_as_it_is(config: SessionsConfig, found: Loaded) -> bool:
    """Whether nothing but its use says how long a session lives: the common case, decided fast."""
    if config.renew_after is not None or config.absolute_timeout is not None:
        return False
    own = found.own
    return not (DEADLINE in own or LIFE in own)


def needs_nothing(config: SessionsConfig, found: Loaded, idle: float) -> bool:
    """Whether a session that was only read, and ``lasts_as_it_is``, can stay so.

    ``idle``  how long it lives without being used, in seconds.
    """
    return not config.sliding or abs(idle - found.seconds) < slide_interval(idle)


def owner_stays(
    found: Loaded,
    fields: Fields,
    identity_keys: tuple[str, ...],
    user: Callable[[], object],
    idle: float,
) -> bool:
    """Whether what is stored of a session's user can stay: he is the same, seen a moment ago.

    For a request that changed none of the ``identity_keys``.
    ``user``  tells whose it is by now, None: nobody's.
    """
    owner = found.owner
    if owner is None:
        return OWNER not in found.own and user() is None
    if abs(time.time() - owner.seen) >= slide_interval(idle):
        return False
    if fields.hold_first(identity_keys, owner.user):
        return True
    whose = user()
    return whose is not None and owner.user == user_text(whose)


class Span:
    """The time and the owner of one session as one save sees them.

    ``idle``    how long it lives without being used, in seconds.
    ``life``    that, if it was set for this session: ``session.set_expiry``.
    ``user``    tells whose it is by now.
    ``device``  tells what it is used with.
    """

    __slots__ = (
        "_config",
        "_device",
        "_found",
        "_life",
        "_life_changed",
        "_now",
        "_owner_known",
        "_whose",
        "deadline",
        "idle",
        "least",
    )

    def __init__(
        self,
        config: SessionsConfig,
        found: Loaded,
        *,
        idle: float,
        life: float | None,
        user: Callable[[], object],
        device: Callable[[], Device],
    ) -> None:
        self.idle = idle if life is None else life
        self.deadline = deadline_of(config, found)
        self.least = idle
        self._found = found
        self._life = life
        self._life_changed = life != found.number(LIFE)
        self._whose = user
        self._owner_known: tuple[str | None] | None = None
        self._device = device
        self._now = time.time()
        self._config = config

    @property
    def user(self) -> str | None:
        """Whose it is by now, as text."""
        if self._owner_known is None:
            user = self._whose()
            self._owner_known = (None if user is None else user_text(user).decode(),)
        return self._owner_known[0]

    @property
    def seconds(self) -> float:
        """How long it may live from now on without being used."""
        if self.deadline is None:
            return self.idle
        return max(1.0, min(self.idle, self.deadline - self._now))

    @property
    def due(self) -> bool:
        """Whether its remaining life is off by so much that reading it prolongs it."""
        return abs(self.seconds - self._found.seconds) >= slide_interval(self.idle)

    @property
    def renewal_due(self) -> bool:
        """Whether its id is to be replaced."""
        after = self._config.renew_after
        if after is None:
            return False
        since = self._found.renewed
        return since is not None and self._now - since >= after

    @property
    def entry_due(self) -> bool:
        """Whether its entry in the user's index must be prolonged."""
        user = self.user
        if user is None:
            return False
        seen = self._found.seen
        return (
            seen is None
            or self._life_changed
            or self._found.user != user
            or abs(self._now - seen) >= slide_interval(self.idle)
        )

    @property
    def entry_seconds(self) -> float:
        """How long an entry in the user's index must stay if it is not prolonged."""
        return max(self.idle, self.least) + slide_interval(self.idle)

    def changed(self, *, entry: bool) -> Changes:
        """Which of the kit's own fields a save has to change. ``entry``: the index is prolonged."""
        found, own = self._found.own, dict[bytes, bytes]()
        removed: list[bytes] = []
        if self._life_changed:
            if self._life is None:
                removed.append(LIFE)
            else:
                own[LIFE] = _text(self._life)
        if self.deadline is not None and self.deadline != self._found.number(DEADLINE):
            own[DEADLINE] = _text(self.deadline)
        if self.user is None:
            if OWNER in found:
                removed.append(OWNER)
        elif entry:
            own |= self._owner()
        return Changes(own, removed)

    def fresh(self, *, goes_on: bool) -> dict[bytes, bytes]:
        """The kit's own fields of a session that is stored under a new id.

        ``goes_on``  it is the same session as before; else its time begins anew.
        """
        own: dict[bytes, bytes] = {} if self.user is None else self._owner()
        if self._life is not None:
            own[LIFE] = _text(self._life)
        if goes_on:
            created = self._found.created
            if created is not None:
                own[CREATED] = repr(created).encode()
            if self.deadline is not None:
                own[DEADLINE] = _text(self.deadline)
        return own

    def _owner(self) -> dict[bytes, bytes]:
        device = self._device().stored()
        return {OWNER: Owner(user_text(self.user), self._now, device).stored()}


def _text(seconds: float) -> bytes:
    return str(int(seconds)).encode()
