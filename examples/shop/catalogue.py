"""The shop's database: SQLite, made by the generator at the first start.

There is no index for search and sums over the order lines, as in many a real shop: they are slow
by themselves, which is what a cache is for.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from examples.shop.generator import LINES, books, order_lines

_SCHEMA = """
CREATE TABLE book (
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, author TEXT NOT NULL, genre TEXT NOT NULL,
    year INTEGER NOT NULL, cents INTEGER NOT NULL, hue INTEGER NOT NULL
);
CREATE TABLE line (
    id INTEGER PRIMARY KEY, book INTEGER NOT NULL, day TEXT NOT NULL, copies INTEGER NOT NULL
);
"""
_BOOKS = """
SELECT book.*, COALESCE(SUM(line.copies), 0) AS sold
FROM book LEFT JOIN line ON line.book = book.id
"""


@dataclass(frozen=True, slots=True)
class Book:
    """A book and how often it was sold. ``hue`` is the colour of its cover."""

    id: int
    title: str
    author: str
    genre: str
    year: int
    cents: int
    hue: int
    sold: int

    @property
    def price(self) -> str:
        """For people: ``12.90``."""
        return f"{self.cents / 100:.2f}"


class Catalogue:
    """Reads and writes the database at ``path``; one connection a call, so any thread may ask."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self, lines: int = LINES) -> bool:
        """Make the database unless it is there. True if it was made now."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.path.exists():
                return False
            draft = self.path.with_suffix(".draft")
            draft.unlink(missing_ok=True)
            with _connection(draft) as connection:
                connection.executescript(_SCHEMA)
                connection.executemany("INSERT INTO book VALUES (?, ?, ?, ?, ?, ?, ?)", books())
                connection.executemany(
                    "INSERT INTO line VALUES (NULL, ?, ?, ?)", order_lines(lines)
                )
            draft.rename(self.path)  # only a whole database gets the name
            return True

    def search(self, words: str, genre: str, limit: int = 24) -> list[Book]:
        """Books whose title or author holds ``words``, the best sold first; ``""`` for any."""
        pattern = "%" + words.translate({ord(sign): f"\\{sign}" for sign in "\\%_"}) + "%"
        return self._find(
            r"""WHERE (title LIKE :pattern ESCAPE '\' OR author LIKE :pattern ESCAPE '\')
                AND (:genre = '' OR genre = :genre)
                GROUP BY book.id ORDER BY sold DESC, title LIMIT :limit""",
            pattern=pattern,
            genre=genre,
            limit=limit,
        )

    def best_sellers(self, limit: int = 10) -> list[Book]:
        """The most sold books of all time."""
        return self._find("GROUP BY book.id ORDER BY sold DESC, title LIMIT :limit", limit=limit)

    def book(self, book_id: int) -> Book | None:
        """One book."""
        found = self._find("WHERE book.id = :id GROUP BY book.id", id=book_id)
        return found[0] if found else None

    def sell(self, book_id: int) -> None:
        """Write down that one copy was sold today."""
        with _connection(self.path) as connection:
            today = date.today().isoformat()
            connection.execute("INSERT INTO line VALUES (NULL, ?, ?, 1)", (book_id, today))

    def months(self) -> list[str]:
        """Every month with a sale: ``2025-01``."""
        with _connection(self.path) as connection:
            rows = connection.execute("SELECT DISTINCT substr(day, 1, 7) FROM line ORDER BY 1")
            return [month for (month,) in rows]

    def sales_of(self, month: str) -> dict[str, int]:
        """Turnover of a month by genre, in cents."""
        with _connection(self.path) as connection:
            rows = connection.execute(
                """SELECT genre, SUM(copies * cents) FROM line JOIN book ON book.id = line.book
                   WHERE substr(day, 1, 7) = ? GROUP BY genre""",
                (month,),
            )
            return dict(rows.fetchall())

    def _find(self, condition: str, **values: object) -> list[Book]:
        with _connection(self.path) as connection:
            return [Book(*row) for row in connection.execute(_BOOKS + condition, values)]


@contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    """Commits at the end of its block, and closes."""
    connection = sqlite3.connect(path, timeout=10)
    try:
        with connection:
            yield connection
    finally:
        connection.close()
