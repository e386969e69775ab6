"""Invalidation when a SQLAlchemy session commits. Optional: imported only where it is used.

The tags are invalidated twice. Before the commit: if that fails nothing was committed, so the
database and the cache still agree. And after it, for what readers have computed from the old rows
in between. What is left is a server that fails in just that moment: then the commit stands, an
error is logged, and the process repeats the invalidation together with its next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from sqlalchemy import event, inspect, select
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session, sessionmaker

from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.tags import checked_tags
from flask_redis_kit.core.errors import ConfigError

AnySession: TypeAlias = Session | AsyncSession | scoped_session[Any] | async_scoped_session[Any]
SessionSource: TypeAlias = AnySession | sessionmaker[Any] | type[Session]
TagsOfObject: TypeAlias = Callable[[Any], str | Iterable[str] | None]
"""The tags of what is made from an object: of a row that was added, changed or deleted."""

_INFO = "flask_redis_kit.cache"


class _Pending:
    """The tags that one session is going to invalidate."""

    def __init__(self) -> None:
        self.waiting: dict[str, None] = {}
        """Named before the transaction began."""
        self.of: dict[SessionTransaction, dict[str, None]] = {}
        """By transaction or savepoint."""
        self.committed: set[SessionTransaction] = set()
        self.announced: set[str] = set()
        """Invalidated before the commit that is going on."""
        self.heard_by: set[Commits] = set()
        """Who listens to this session itself."""


class Commits:
    """Invalidates when sessions commit, in the cache that ``locate`` finds then. No state."""

    def __init__(self, locate: Callable[[], CacheEngine]) -> None:
        self._locate = locate

    def add(self, session: AnySession, tags: tuple[str, ...]) -> None:
        """Invalidate tags when what goes on in this session is committed."""
        found = _session_of(session)
        pending = _pending(found)
        transaction = found.get_nested_transaction() or found.get_transaction()
        while transaction is not None and not transaction.is_active and not found.twophase:
            # an after_commit listener asks: what it was told is done, and may not be told to us.
            # (If it can only be rolled back, this invalidates once too often.)
            if transaction.parent is None:
                self._locate().invalidation.eventually(tags)
                return
            transaction = _owner(transaction.parent)
        record = pending.waiting if transaction is None else pending.of.setdefault(transaction, {})
        record.update(dict.fromkeys(tags))
        self._listen(found)

    def bind(self, source: SessionSource, tags_of: TagsOfObject) -> None:
        """Invalidate the tags of what the sessions of ``source`` add, change or delete."""

        if not callable(tags_of):
            raise TypeError(f"tags_of must be a function of an object, not {tags_of!r}.")
        target = getattr(source, "sync_session", source)
        is_class = isinstance(target, type) and issubclass(target, Session)
        if not is_class and not isinstance(target, Session | scoped_session | sessionmaker):
            raise TypeError(
                "bind_sqlalchemy() takes a session, a scoped_session, a sessionmaker or a class of "
                f"sessions (of asynchronous ones the sync_session_class), not {source!r}."
            )

        def collect_old(session: Session, *_: object) -> None:
            for each in (*session.dirty, *session.deleted):
                _collect(session, _Before(session, each), tags_of)

        def collect_new(session: Session, _: object) -> None:
            for each in (*session.new, *session.dirty):
                _collect(session, each, tags_of)

        event.listen(target, "before_flush", collect_old)
        event.listen(target, "after_flush", collect_new)
        self._listen(target)

    def _listen(self, target: Any) -> None:
        """Hear of the transactions of a session or of all sessions of a source.

        Not ``event.contains()``: it knows targets by their id, also those that are gone, so it
        takes a new session for the sessionmaker that was at its place in memory. To be told twice,
        by a session and its class, does no harm.
        """
        if isinstance(target, Session):
            heard_by = _pending(target).heard_by
            if self in heard_by:
                return
            heard_by.add(self)
        for name, listener in (
            ("after_transaction_create", _began),
            ("before_commit", self._announce),
            ("after_commit", _committed),
            ("after_transaction_end", self._ended),
        ):
            event.listen(target, name, listener)

    def _announce(self, session: Session) -> None:
        """Before a commit: fail now rather than after it."""
        if session.in_nested_transaction():
            return
        session.flush()  # its objects have tags, too
        pending = _pending(session)
        tags = {tag: None for record in pending.of.values() for tag in record}
        if tags.keys() - pending.announced:
            self._locate().invalidation.tags(tuple(tags))
            pending.announced |= tags.keys()

    def _ended(self, session: Session, transaction: SessionTransaction) -> None:
        """A transaction, or a savepoint, is over: committed, rolled back or left."""
        pending = _pending(session)
        record = pending.of.pop(transaction, {})
        was_committed = transaction in pending.committed
        pending.committed.discard(transaction)
        outer = transaction.parent
        if outer is None:
            pending.announced.clear()
        if not was_committed or not record:
            return
        if outer is not None:
            pending.of.setdefault(_owner(outer), {}).update(record)
        else:
            self._locate().invalidation.eventually(tuple(record))


def _began(session: Session, transaction: SessionTransaction) -> None:
    pending = _pending(session)
    if transaction.parent is None and pending.waiting:
        pending.of.setdefault(transaction, {}).update(pending.waiting)
        pending.waiting.clear()


def _committed(session: Session) -> None:
    transaction = session.get_nested_transaction() or session.get_transaction()
    if transaction is not None:
        _pending(session).committed.add(transaction)


def _owner(transaction: SessionTransaction) -> SessionTransaction:
    """The savepoint or transaction that this one is, or is a part of: a flush makes such parts."""
    while transaction.parent is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction


def _pending(session: Session) -> _Pending:
    pending: _Pending = session.info.setdefault(_INFO, _Pending())
    return pending


def _session_of(session: Any) -> Session:
    """The session itself, of whatever stands for it."""
    found = session
    for name in ("registry", "sync_session"):  # scoped_session; AsyncSession
        inner = getattr(found, name, None)
        if inner is not None:
            found = inner() if name == "registry" else inner
    if not isinstance(found, Session):
        raise TypeError(
            f"invalidate_after_commit() takes a SQLAlchemy session, not {session!r}: "
            'invalidate_after_commit(db.session, "products").'
        )
    return found


def _collect(session: Session, obj: Any, tags_of: TagsOfObject) -> None:
    """Note the tags of an object, for the transaction or savepoint that is being flushed."""
    tags = tags_of(obj)
    if tags is None:
        return
    transaction = session.get_nested_transaction() or session.get_transaction()
    assert transaction is not None  # noqa: S101  # a flush is in one
    record = _pending(session).of.setdefault(transaction, {})
    try:
        for tag in (tags,) if isinstance(tags, str) else tags:
            record.update(dict.fromkeys(checked_tags((tag,), "it makes strings")))
    except (TypeError, ConfigError) as error:
        raise type(error)(f"tags_of() of a {obj.__class__.__qualname__}: {error}") from None


class _Before:
    """An object as it was before this flush: what is changed may belong under other tags by now."""

    def __init__(self, session: Session, obj: object) -> None:
        self._obj = obj
        state: Any = inspect(obj)
        self._old: dict[str, Any] = {}
        unknown = []
        for attribute in state.attrs:
            if getattr(state.mapper.attrs[attribute.key], "uselist", False):
                continue
            history = attribute.history
            if history.deleted:
                self._old[attribute.key] = history.deleted[0]
            elif history.added and attribute.key in state.mapper.column_attrs:
                unknown.append(attribute.key)  # it was changed without being loaded before
        if unknown and state.persistent:
            self._load(session, state, unknown)

    def _load(self, session: Session, state: Any, names: list[str]) -> None:
        columns = [getattr(state.class_, name) for name in names]
        key = zip(state.mapper.primary_key, state.identity, strict=True)
        row = session.execute(select(*columns).where(*(column == each for column, each in key)))
        for found in row:
            self._old.update(zip(names, found, strict=True))

    @property  # type: ignore[misc]  # what tags_of() asks with isinstance()
    def __class__(self) -> type:
        return type(self._obj)

    def __getattr__(self, name: str) -> Any:
        old: dict[str, Any] = self.__dict__["_old"]
        return old[name] if name in old else getattr(self.__dict__["_obj"], name)
