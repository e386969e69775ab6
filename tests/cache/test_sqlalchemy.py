"""Invalidation by SQLAlchemy's commits, with a real database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, ForeignKey, create_engine, event, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    scoped_session,
    sessionmaker,
)

from flask_redis_kit import ConfigError, RedisKit
from flask_redis_kit.cache import InvalidationError
from tests.cache.conftest import MakeKit
from tests.harness.proxy import Proxy


class Base(DeclarativeBase):
    pass


class Category(Base):
    __tablename__ = "category"
    id: Mapped[int] = mapped_column(primary_key=True)
    products: Mapped[list[Product]] = relationship(
        back_populates="category", cascade="all, delete-orphan"
    )


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    category_id: Mapped[int | None] = mapped_column(ForeignKey("category.id"))
    category: Mapped[Category | None] = relationship(back_populates="products")


def tags_of(obj: object) -> list[str] | str | None:
    if isinstance(obj, Product):
        return [f"product:{obj.id}", f"category:{obj.category_id}"]
    return f"category:{obj.id}" if isinstance(obj, Category) else None


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Category(id=1), Category(id=2), Category(id=3)])
        session.add_all([Product(id=n, name="old", category_id=1) for n in (1, 2, 3)])
        session.commit()
    yield engine
    engine.dispose()


@pytest.fixture
def session(database: Engine) -> Iterator[Session]:
    with Session(database) as session:
        yield session


class Watched:
    """Tags of which it can be told whether they were invalidated."""

    def __init__(self, kit: RedisKit) -> None:
        self._cache = kit.cache

    def watch(self, *tags: str) -> None:
        for tag in tags:
            assert self._cache.set(tag, 1, tags=[tag])

    def invalidated(self, *tags: str) -> list[str]:
        return [tag for tag in tags if not self._cache.has(tag)]


@pytest.fixture
def tags(kit: RedisKit) -> Watched:
    return Watched(kit)


def test_tags_are_invalidated_with_the_commit_and_not_before(
    kit: RedisKit, session: Session, tags: Watched
) -> None:
    tags.watch("a", "b")
    session.execute(update(Product).values(name="new"))
    kit.cache.invalidate_after_commit(session, "a", "b")
    assert tags.invalidated("a", "b") == []
    session.commit()
    assert tags.invalidated("a", "b") == ["a", "b"]
    tags.watch("a")
    session.execute(select(Product)).all()
    session.commit()
    assert tags.invalidated("a") == [], "once is enough"


def test_tags_named_before_the_transaction_begins_are_of_the_next_one(
    kit: RedisKit, session: Session, tags: Watched
) -> None:
    tags.watch("a")
    kit.cache.invalidate_after_commit(session, "a")
    with session.begin():
        session.add(Product(name="x"))
        assert tags.invalidated("a") == []
    assert tags.invalidated("a") == ["a"]
    tags.watch("a")
    with session.begin():
        session.add(Product(name="y"))
    assert tags.invalidated("a") == [], "and of no other one"


@pytest.mark.parametrize("of", ["all", "these", "this one"])
@pytest.mark.parametrize("name", ["before_commit", "after_commit"])
@pytest.mark.parametrize("known", [False, True], ids=["first", "again"])
def test_listeners_to_a_commit_may_name_tags(
    kit: RedisKit, database: Engine, tags: Watched, of: str, name: str, known: bool
) -> None:
    """Of all sessions, of those of a sessionmaker, or of one alone."""
    if (of, name) == ("this one", "before_commit"):
        known = True  # SQLAlchemy lets nobody listen to what it is telling just now: see the docs

    class Own(Session):
        """Or the listener would stay for other tests."""

    maker = sessionmaker(database, class_=Own)

    def listener(session: Session) -> None:
        if session is mine:
            kit.cache.invalidate_after_commit(session, "named")

    with maker() as mine:
        if known:
            kit.cache.invalidate_after_commit(mine, "other")
        target: Any = {"all": Own, "these": maker, "this one": mine}[of]
        event.listen(target, name, listener)
        for _ in range(2):
            tags.watch("named")
            mine.get_one(Product, 1).name += "!"
            assert tags.invalidated("named") == []
            mine.commit()
            assert tags.invalidated("named") == ["named"]


def test_a_savepoint_that_is_told_of_is_no_commit_yet(
    kit: RedisKit, database: Engine, tags: Watched
) -> None:
    maker = sessionmaker(database)
    told: list[bool] = []

    @event.listens_for(maker, "after_commit")
    def listener(session: Session) -> None:
        told.append(session.in_nested_transaction())
        if told[-1]:
            kit.cache.invalidate_after_commit(session, "named")

    with maker() as session:
        tags.watch("named")
        with session.begin_nested():
            session.get_one(Product, 1).name += "!"
        assert told == [True]
        assert tags.invalidated("named") == []
        session.commit()
        assert tags.invalidated("named") == ["named"]


@pytest.mark.parametrize("end", ["rollback", "close", "error"])
def test_without_a_commit_nothing_is_invalidated(
    end: str, kit: RedisKit, session: Session, tags: Watched
) -> None:
    kit.cache.bind_sqlalchemy(session, tags_of)
    tags.watch("a", "product:1")
    product = session.get_one(Product, 1)
    product.name = "new"
    kit.cache.invalidate_after_commit(session, "a")
    session.flush()
    if end == "error":
        session.add(Product(id=2, name="taken"))
        with pytest.raises(Exception, match="UNIQUE"):
            session.commit()
        # it was announced before the commit failed, which is on the safe side
        session.rollback()
    elif end == "rollback":
        session.rollback()
    else:
        session.close()
    assert end == "error" or tags.invalidated("a", "product:1") == []
    tags.watch("a", "product:1")
    session.add(Product(name="another"))
    session.commit()
    assert tags.invalidated("a", "product:1") == []


def test_a_savepoint_takes_its_tags_with_it(kit: RedisKit, session: Session, tags: Watched) -> None:
    kit.cache.bind_sqlalchemy(session, tags_of)
    names = ("outer", "kept", "dropped", "inner", "product:1", "product:2", "product:3")
    tags.watch(*names)
    kit.cache.invalidate_after_commit(session, "outer")
    session.get_one(Product, 1).name = "new"
    with session.begin_nested():
        session.get_one(Product, 2).name = "new"
        kit.cache.invalidate_after_commit(session, "kept")
        with session.begin_nested():
            kit.cache.invalidate_after_commit(session, "inner")
        assert tags.invalidated(*names) == []
    dropped = session.begin_nested()
    session.get_one(Product, 3).name = "new"
    kit.cache.invalidate_after_commit(session, "dropped")
    with session.begin_nested():
        kit.cache.invalidate_after_commit(session, "dropped")
    session.flush()
    dropped.rollback()
    assert tags.invalidated(*names) == []
    session.commit()
    assert tags.invalidated(*names) == ["outer", "kept", "inner", "product:1", "product:2"]


def test_a_commit_with_a_savepoint_open_commits_both(
    kit: RedisKit, session: Session, tags: Watched
) -> None:
    tags.watch("a")
    session.begin_nested()
    kit.cache.invalidate_after_commit(session, "a")
    session.commit()
    assert tags.invalidated("a") == ["a"]


def change(session: Session, what: str) -> None:
    product = session.get_one(Product, 1)
    if what == "add":
        session.add(Product(id=9, name="x", category_id=3))
    elif what == "change":
        product.name = "new"
    elif what == "move":
        product.category_id = 2
    elif what == "move by relationship":
        product.category = session.get_one(Category, 2)
    elif what == "move unseen":
        session.expire(product)
        product.category_id = 2
    elif what == "delete":
        session.delete(product)
    elif what == "delete unseen":
        session.expire_all()
        session.delete(product)
    elif what == "cascade":
        session.delete(session.get_one(Category, 1))
    elif what == "orphan":
        category = session.get_one(Category, 1)
        category.products.remove(product)
    elif what == "orphan unseen":
        category = session.get_one(Category, 1)
        category.products.remove(product)
        session.expire(product, ["name", "id"])


ALL = [f"product:{n}" for n in (1, 2, 3, 9)] + [f"category:{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("add", {"product:9", "category:3"}),
        ("change", {"product:1", "category:1"}),
        ("move", {"product:1", "category:1", "category:2"}),
        ("move by relationship", {"product:1", "category:1", "category:2"}),
        ("move unseen", {"product:1", "category:1", "category:2"}),
        ("delete", {"product:1", "category:1"}),
        ("delete unseen", {"product:1", "category:1"}),
        ("cascade", {"product:1", "product:2", "product:3", "category:1"}),
        ("orphan", {"product:1", "category:1"}),
        ("orphan unseen", {"product:1", "category:1"}),
    ],
)
def test_changed_objects_tell_their_tags_of_now_and_before(
    what: str, expected: set[str], kit: RedisKit, database: Engine, tags: Watched
) -> None:
    sessions = sessionmaker(database)
    kit.cache.bind_sqlalchemy(sessions, tags_of)
    tags.watch(*ALL)
    with sessions() as session:
        change(session, what)
        session.flush()
        assert tags.invalidated(*ALL) == []
        session.commit()
    assert set(tags.invalidated(*ALL)) == expected


def test_what_was_only_read_is_not_invalidated(
    kit: RedisKit, session: Session, tags: Watched
) -> None:
    kit.cache.bind_sqlalchemy(session, tags_of)
    tags.watch(*ALL)
    assert session.get_one(Product, 1).name == "old"
    session.commit()
    assert tags.invalidated(*ALL) == []


def scoped(database: Engine) -> Any:
    return scoped_session(sessionmaker(database))


def own_class(database: Engine) -> Any:
    class Own(Session):
        pass

    return Own


@pytest.mark.parametrize("make", [scoped, own_class, sessionmaker, Session])
def test_each_source_of_sessions_can_be_bound(
    make: Callable[[Engine], Any], kit: RedisKit, database: Engine, tags: Watched
) -> None:
    source = make(database)
    kit.cache.bind_sqlalchemy(source, tags_of)
    tags.watch("product:1", "a")
    if isinstance(source, scoped_session | Session):
        session: Any = source
    else:
        session = source(database) if make is own_class else source()
    session.get(Product, 1).name = "new"
    kit.cache.invalidate_after_commit(session, "a")
    session.commit()
    session.close()
    assert tags.invalidated("product:1", "a") == ["product:1", "a"]


def test_an_async_session_is_known_by_the_one_within(
    kit: RedisKit, session: Session, tags: Watched
) -> None:
    class Within(AsyncSession):
        """As an AsyncSession is; a driver for it is not needed here."""

        def __init__(self) -> None:
            self.sync_session = session

    tags.watch("a")
    kit.cache.invalidate_after_commit(Within(), "a")
    session.execute(update(Product).values(name="new"))
    session.commit()
    assert tags.invalidated("a") == ["a"]


def test_a_session_in_the_place_of_a_sessionmaker_that_is_gone_is_heard(
    kit: RedisKit, database: Engine, tags: Watched
) -> None:
    def bound_and_gone() -> set[int]:
        makers = [sessionmaker(database) for _ in range(20)]
        for maker in makers:
            kit.cache.bind_sqlalchemy(maker, tags_of)
        return {id(maker) for maker in makers}

    for _ in range(20):
        gone = bound_and_gone()
        for session in [Session(database) for _ in range(100)]:
            if id(session) in gone:
                tags.watch("a")
                kit.cache.invalidate_after_commit(session, "a")
                session.execute(update(Product).values(name="new"))
                session.commit()
                assert tags.invalidated("a") == ["a"]
                return
    pytest.skip("no session came to lie where a sessionmaker had been")


def test_what_is_no_session_is_refused(kit: RedisKit, database: Engine) -> None:
    with pytest.raises(TypeError, match="takes a SQLAlchemy session, not Engine"):
        kit.cache.invalidate_after_commit(database, "a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"bind_sqlalchemy\(\) takes a session"):
        kit.cache.bind_sqlalchemy(database, tags_of)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tags_of must be a function"):
        kit.cache.bind_sqlalchemy(sessionmaker(database), "a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tags", "kind"), [([1], TypeError), ([""], ConfigError), (["a", None], TypeError)]
)
def test_tags_that_are_none_fail_the_flush(
    tags: object, kind: type[Exception], kit: RedisKit, session: Session
) -> None:
    kit.cache.bind_sqlalchemy(session, lambda _: tags)  # type: ignore[arg-type,return-value]
    session.get_one(Product, 1).name = "new"
    with pytest.raises(kind, match=r"tags_of\(\) of a Product: A tag"):
        session.commit()


def test_a_server_that_is_away_stops_the_commit(
    kit: RedisKit, session: Session, proxy: Proxy, database: Engine
) -> None:
    kit.cache.bind_sqlalchemy(session, tags_of)
    session.get_one(Product, 1).name = "new"
    proxy.refuse()
    proxy.cut()
    with pytest.raises(InvalidationError) as caught:
        session.commit()
    assert set(caught.value.tags) == {"product:1", "category:1"}
    session.rollback()
    with Session(database) as other:
        assert other.get_one(Product, 1).name == "old"


def test_it_may_go_on_without_the_server(
    make_kit: MakeKit, session: Session, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    kit = make_kit(proxy.url, REDIS_CACHE_ON_INVALIDATION_ERROR="log")
    kit.cache.set("a", 1, tags=["a"])
    kit.cache.invalidate_after_commit(session, "a")
    session.execute(update(Product).values(name="new"))
    proxy.refuse()
    proxy.cut()
    session.commit()
    assert "'a' could not be invalidated" in caplog.text


def test_a_server_that_fails_after_the_commit_is_made_up_for(
    kit: RedisKit,
    session: Session,
    tags: Watched,
    proxy: Proxy,
    database: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kit.cache.invalidate_after_commit(session, "a")
    session.execute(update(Product).values(name="new"))

    def a_reader_and_then_a_fault(_: object) -> None:
        tags.watch("a")  # by the rows of before the commit
        proxy.refuse()
        proxy.cut()

    event.listen(session, "after_commit", a_reader_and_then_a_fault)
    session.commit()
    with Session(database) as other:
        assert other.get_one(Product, 1).name == "new", "the commit stands"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "'a' could not be invalidated" in caplog.text
    proxy.restore()
    assert tags.invalidated("a") == []
    kit.cache.invalidate_tags("b")
    assert tags.invalidated("a") == ["a"]
    tags.watch("a")
    kit.cache.invalidate_tags("b")
    assert tags.invalidated("a") == [], "once is enough"


def test_a_reader_between_flush_and_commit_leaves_nothing_old(
    kit: RedisKit, database: Engine, app: Flask
) -> None:
    kit.cache.bind_sqlalchemy(sessions := sessionmaker(database), tags_of)

    @kit.cache.cache_result("name", tags=["product:{n}"])
    def name(n: int) -> str:
        with Session(database) as reader:
            return reader.get_one(Product, n).name

    def read_by_another_thread() -> str:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(name, 1).result(60)

    assert name(1) == "old"
    with sessions() as session:
        event.listen(session, "after_flush", lambda *_: read_by_another_thread())
        # after it was announced, and before the database knows
        event.listen(session, "before_commit", lambda *_: read_by_another_thread())
        session.get_one(Product, 1).name = "new"
        session.flush()
        assert read_by_another_thread() == "old"
        session.commit()
    assert name(1) == "new"


def test_a_computation_that_began_before_the_commit_is_not_stored(
    kit: RedisKit, database: Engine
) -> None:
    kit.cache.bind_sqlalchemy(sessions := sessionmaker(database), tags_of)
    has_read, go_on = threading.Event(), threading.Event()

    @kit.cache.cache_result("name", tags=["product:{n}"])
    def name(n: int) -> str:
        with Session(database) as reader:
            found = reader.get_one(Product, n).name
        has_read.set()
        assert go_on.wait(60)
        return found

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(name, 1)
        assert has_read.wait(60)
        with sessions() as session:
            session.get_one(Product, 1).name = "new"
            session.commit()
        go_on.set()
        assert slow.result(60) == "old", "it was asked before"
    assert name(1) == "new"


def test_tasks_may_use_it(kit: RedisKit, database: Engine, tags: Watched) -> None:
    tags.watch("a")

    async def program() -> None:
        with Session(database) as session:
            kit.cache.invalidate_after_commit(session, "a")
            session.execute(update(Product).values(name="new"))
            session.commit()

    asyncio.run(program())
    assert tags.invalidated("a") == ["a"]
