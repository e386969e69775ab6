"""What the server holds of one session: its fields, and those of the kit, which begin with NUL."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from flask_redis_kit.core.exchange import Reply, pairs
from flask_redis_kit.sessions.ids import began, digest_of

INCARNATION: Final = b"\0c"
"""What tells this life of the session from another one; see ``ids.new_incarnation``."""
DEADLINE: Final = b"\0a"
"""When it ends at the latest: seconds since 1970, as text."""
CREATED: Final = b"\0b"
"""When it began under another id: seconds since 1970, as text."""
LIFE: Final = b"\0e"
"""How long it lives without being used, where ``set_expiry`` said so: seconds, as text."""
MOVED: Final = b"\0m"
"""Of a session that was Flask-Session's: when it was moved, and what it was then; ``moving.py``."""
OWNER: Final = b"\0u"
"""Of a session with a user: whose it is, when it was last used, and with what; see ``Owner``."""
TOMBSTONE: Final = b"\0x"
"""Of a session that has ended: one of the reasons below, then what tells this end from another."""

OWN: Final = (INCARNATION, DEADLINE, CREATED, LIFE, OWNER, TOMBSTONE)

ROTATED: Final = b"r"
DESTROYED: Final = b"d"
REVOKED: Final = b"k"
GRACE: Final = 60
"""How long a tombstone stays, in seconds."""

_NONE: Final[Mapping[bytes, bytes]] = MappingProxyType({})


class StoredFields(Mapping[str, bytes]):
    """The session's own fields among those of a hash: a big session is not walked to read one."""

    __slots__ = ("_stored",)

    def __init__(self, stored: Mapping[bytes, bytes]) -> None:
        self._stored = stored

    def __getitem__(self, key: str) -> bytes:
        data: bytes | None = self.get(key)
        if data is None:
            raise KeyError(key)
        return data

    def get(self, key: str, default: Any = None) -> Any:
        """The bytes of a field."""
        if not isinstance(key, str) or key[:1] == "\0":
            return default
        try:
            return self._stored.get(key.encode(), default)
        except UnicodeEncodeError:
            return default

    def __iter__(self) -> Iterator[str]:
        for name in self._stored:
            if name[:1] != b"\0":
                try:
                    yield name.decode()
                except UnicodeDecodeError:
                    continue  # no name of ours

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @staticmethod
    def of(fields: Mapping[str, bytes]) -> StoredFields:
        """Fields that may not come from a server."""
        if isinstance(fields, StoredFields):
            return fields
        return StoredFields({key.encode(): data for key, data in fields.items()})

    def encoded(self) -> dict[bytes, bytes]:
        """All of them by their encoded names."""
        return {
            name: data
            for name, data in self._stored.items()
            if name[:1] != b"\0" and (name.isascii() or _is_text(name))
        }

    def after(self, changed: Mapping[bytes, bytes], removed: Iterable[bytes]) -> StoredFields:
        """What they are with these changes."""
        stored = {**self._stored, **changed}
        for name in removed:
            stored.pop(name, None)
        return StoredFields(stored)


class Loaded(NamedTuple):
    """What lies under an id.

    ``fields``       encoded, by name; empty if there is no session.
    ``incarnation``  None: no session.
    ``seconds``      how long it still lives, 0 if that is not known.
    ``rotated``      there is none because it got another id a moment ago.
    ``own``          the kit's own fields, perhaps among others.
    """

    fields: Mapping[str, bytes]
    incarnation: bytes | None
    seconds: float
    rotated: bool
    own: Mapping[bytes, bytes] = _NONE

    @property
    def renewed(self) -> float | None:
        """When it got this id, in seconds since 1970."""
        return None if self.incarnation is None else began(self.incarnation)

    @property
    def created(self) -> float | None:
        """When it began, in seconds since 1970; a rotation keeps that."""
        return self.number(CREATED) or self.renewed

    @property
    def owner(self) -> Owner | None:
        """Whose it is, as stored; None: nobody's, or that can't be read."""
        stored = self.own.get(OWNER)
        return None if stored is None else owner_of(stored)

    @property
    def user(self) -> str | None:
        """Whose it is, as stored."""
        owner = self.owner
        return None if owner is None else owner.user.decode(errors="replace")

    @property
    def seen(self) -> float | None:
        """When it was last used, of a session with a user: seconds since 1970."""
        owner = self.owner
        return None if owner is None else owner.seen

    @property
    def device(self) -> bytes | None:
        """What it was last used with, as stored; see ``device_of``."""
        owner = self.owner
        return None if owner is None or not owner.device else owner.device

    @property
    def ended(self) -> bool:
        """Whether there was one until a moment ago."""
        return TOMBSTONE in self.own

    def number(self, name: bytes) -> float | None:
        """One of the kit's own fields that hold seconds."""
        stored = self.own.get(name)
        if stored is None:
            return None
        try:
            return float(stored)
        except ValueError:
            return None


class Owner(NamedTuple):
    """The user of a session: one field, as each costs more than what is in it.

    ``user``    whose it is; see ``user_text``.
    ``seen``    when it was last used, in whole seconds since 1970.
    ``device``  what with; see ``Device``. Empty: not known.
    """

    user: bytes
    seen: float
    device: bytes

    def stored(self) -> bytes:
        """As it is stored; ``destroy.lua`` reads that, too."""
        return b"%d:%b%b" % (self.seen, owner_name(self.user), self.device)


def owner_name(user: bytes) -> bytes:
    """How ``Owner.stored`` names a user, which is no beginning of another one's name."""
    return b"%d:%b" % (len(user), user)


def owner_of(stored: bytes) -> Owner | None:
    """What was stored, None if it can't be read."""
    try:
        seen, length, rest = stored.split(b":", 2)
        end = int(length)
        # what Owner(…) does, and faster
        return tuple.__new__(Owner, (rest[:end], float(seen), rest[end:]))
    except ValueError:
        return None


NO_FIELDS: Final = StoredFields({})
NOTHING: Final = Loaded(NO_FIELDS, None, 0.0, False)


def loaded(replies: list[Reply]) -> Loaded:
    """Reads the replies to HGETALL and PTTL."""
    stored = pairs(replies[0])
    incarnation = stored.get(INCARNATION)
    if incarnation is None:
        tombstone = stored.get(TOMBSTONE)
        if tombstone is None:
            return NOTHING
        return NOTHING._replace(rotated=_just_rotated(tombstone), own={TOMBSTONE: tombstone})
    left = replies[1]
    seconds = left / 1000 if left > 0 else 0.0
    # what Loaded(…) does, without its call of a function for the arguments' names
    return tuple.__new__(Loaded, (StoredFields(stored), incarnation, seconds, False, stored))


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False  # no name of ours
    return True


def _just_rotated(tombstone: bytes) -> bool:
    """Whether requests may be under way still that came with the old id."""
    since = began(tombstone[1:])
    return tombstone.startswith(ROTATED) and (since is None or time.time() < since + GRACE)


def glanced(replies: list[Reply]) -> Loaded:
    """Reads the replies to HMGET of all ``OWN`` and PTTL: no fields but the kit's."""
    own = {name: value for name, value in zip(OWN, replies[0], strict=True) if value is not None}
    return loaded([own, replies[1]])


class Device(NamedTuple):
    """What a session is used with: as the browser calls itself, and where it comes from."""

    user_agent: str
    address: str

    def stored(self) -> bytes:
        """As it is stored; long names are cut. Neither part can hold the end of a line."""
        return f"{self.address[:50]}\n{self.user_agent[:250]}".encode(errors="replace")


def device_of(data: bytes | None) -> Device:
    """What was stored; empty parts for nothing."""
    address, _, agent = (data or b"").decode(errors="replace").partition("\n")
    return Device(agent, address)


def user_digest(user: str) -> str:
    """What names a user in keys."""
    return digest_of(user)


def user_text(user: object) -> bytes:
    """A user as stored: 7 and "7" are the same."""
    return str(user).encode(errors="backslashreplace")
