"""What the catalogue is filled with: the same books and habits at every first start."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta

BOOKS = 6_000
LINES = 400_000
DAYS = 730
GENRES = ("Novel", "Crime", "Poetry", "History", "Travel", "Science", "Cooking", "Children")

_SEASON = (0, 3, 3, 4, 4, 5, 4, 6, 5, 4, 5, 7, 11)  # how much a day of each month sells

_ADJECTIVES = """Amber Borrowed Copper Crimson Distant Early Folded Gentle Glass Hidden Hollow Last
    Lost Northern Paper Patient Quiet Salt Second Silent Stubborn Unwritten Wandering Winter"""
_NOUNS = """Almanac Archive Atlas Bakery Beekeeper Clockmaker Compass Ferryman Garden Harbour Island
    Kitchen Lantern Letter Lighthouse Map Museum Observatory Orchard River Sparrow Tide Train
    Translator Violin Winter"""
_ENDINGS = """/ of Ash/ in the North/ for Beginners/ of Small Things/ at Dusk/ without Maps
    / by the Sea/ of Two Cities/ and the Moon"""
_FIRST = "Ada Bruno Clara Dmitri Elena Farid Greta Hugo Ines Jonas Kaya Leo Mara Nils Olga Pavel"
_LAST = "Albrecht Brandt Castell Dahl Eriksen Fontane Grieg Holm Ivanov Jansen Keller Lind Moreau"


def books() -> Iterator[tuple[int, str, str, str, int, int, int]]:
    """Number, title, author, genre, year, price in cents, hue of the cover."""
    chance = random.Random(1849)
    endings = [ending.rstrip() for ending in _ENDINGS.split("/")]
    titles = [
        f"The {adjective} {noun}{ending}"
        for adjective in _ADJECTIVES.split()
        for noun in _NOUNS.split()
        for ending in endings
        if adjective != noun
    ]
    firsts, lasts = _FIRST.split(), _LAST.split()
    for number, title in enumerate(chance.sample(titles, BOOKS), start=1):
        author = f"{chance.choice(firsts)} {chance.choice(lasts)}"
        genre, year = chance.choice(GENRES), chance.randint(1890, 2026)
        cents = chance.randint(6, 39) * 100 + 90
        yield number, title, author, genre, year, cents, chance.randrange(360)


def order_lines(count: int) -> Iterator[tuple[int, str, int]]:
    """Book, day, copies. Few books sell much: of fifty copies one is the best seller's."""
    chance = random.Random(1850)
    numbers = chance.sample(range(1, BOOKS + 1), BOOKS)
    past = [date.today() - timedelta(days=n) for n in range(1, DAYS + 1)]
    days = [day.isoformat() for day in past for _ in range(_SEASON[day.month])]
    for _ in range(count):
        book = numbers[int(BOOKS * chance.random() ** 2.2)]
        yield book, chance.choice(days), chance.choice((1, 1, 1, 2, 3))
