"""Queries that ask for the same thing are one; those that don't never are."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_kit.cache.query import canonical_form, canonical_query

names = st.text(max_size=4)
pairs = st.lists(st.tuples(names, st.text(max_size=4)), max_size=8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"a=1&b=2", b"b=2&a=1"),
        (b"a=1", b"a=1&utm_source=x&utm_medium=&gclid=1&fbclid=2&msclkid=3&_gl=4&mc_eid=5"),
        (b"a=%20", b"a=+"),
        (b"%61=%31", b"a=1"),
        (b"a", b"a="),
        (b"", b"&&"),
        (b"caf%C3%A9=1", "café=1".encode()),
    ],
)
def test_the_same_question_in_other_words(one: bytes, other: bytes) -> None:
    assert canonical_query(one) == canonical_query(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"a=1&a=2", b"a=2&a=1"),
        (b"a=1%26b%3D2", b"a=1&b=2"),
        (b"a=%FF", b"a=%FE"),
        (b"a=%2B", b"a=+"),
        (b"a=1", b"A=1"),
        (b"a=", b""),
        (b"utm=1", b""),
        (b"a=1=2", b"a=1"),
    ],
)
def test_other_questions(one: bytes, other: bytes) -> None:
    assert canonical_query(one) != canonical_query(other)


def test_only_the_allowed_parameters_count() -> None:
    allowed = ("page", "utm_source", "größe")
    assert canonical_query(b"x=1&page=2&sort=up", allowed) == "page=2"
    assert canonical_query(b"utm_source=a", allowed) == "utm_source=a", "it was asked for"
    assert canonical_query("größe=1".encode(), allowed) == canonical_query(
        b"gr%C3%B6%C3%9Fe=1", allowed
    )
    assert canonical_query(b"x=1", ()) == ""


@pytest.mark.parametrize(
    "text",
    [b"&".join(b"p%d=1" % n for n in range(65)), b"a=" + b"x" * 4096, b"a" * 4097],
    ids=["many", "long value", "long name"],
)
def test_what_is_too_large_is_no_key_unless_it_does_not_count(text: bytes) -> None:
    assert canonical_query(text) is None
    assert canonical_query(text + b"&page=2", ("page",)) == "page=2"
    assert canonical_query(b"utm_x=" + b"x" * 5000) == ""


def test_sixty_four_parameters_are_a_key() -> None:
    assert canonical_query(b"&".join(b"p%d=1" % n for n in range(64))) is not None


@given(pairs)
def test_order_matters_among_the_values_of_one_name_only(
    given_pairs: list[tuple[str, str]],
) -> None:
    text = urlencode(given_pairs).encode("utf-8")
    canonical = canonical_query(text)
    assert canonical is not None
    kept = parse_qsl(text.decode(), keep_blank_values=True)
    again = parse_qsl(canonical, keep_blank_values=True)
    assert sorted(again, key=lambda pair: pair[0].encode()) == again
    for name in {name for name, _ in kept}:
        values = [value for each, value in kept if each == name]
        assert [value for each, value in again if each == name] == values
    assert canonical_query(canonical.encode()) == canonical
    assert canonical_form(text).decode() == canonical


@given(pairs, pairs)
def test_no_two_different_questions_are_one(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    def meaning(given_pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
        by_name: dict[str, list[str]] = {}
        for name, value in given_pairs:
            by_name.setdefault(name, []).append(value)
        return by_name

    same = canonical_query(urlencode(one).encode()) == canonical_query(urlencode(other).encode())
    assert same == (meaning(one) == meaning(other))
