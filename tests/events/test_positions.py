"""Positions of streams over several channels."""

from __future__ import annotations

import pytest

from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.events.channels import Channels
from flask_redis_kit.events.config import EventsConfig
from flask_redis_kit.events.positions import StreamId, format_position, parse_id, parse_position

CHANNELS = Channels(KeyBuilder("shop"), EventsConfig()).of([f"c{n}" for n in range(14)], 42)


def test_a_position_comes_back_as_it_was_and_fits_into_a_header() -> None:
    ids = {channel: StreamId(1795223801813, n) for n, channel in enumerate(CHANNELS)}
    text = format_position(ids)
    assert parse_position(text, CHANNELS) == ids
    assert len(text) < 500


def test_channels_it_does_not_name_are_left_out_and_foreign_ones_ignored() -> None:
    text = format_position({CHANNELS[0]: StreamId(5, 0), CHANNELS[1]: StreamId(6, 1)})
    assert parse_position(text, CHANNELS[1:3]) == {CHANNELS[1]: StreamId(6, 1)}
    assert parse_position("v1", CHANNELS) == {}


@pytest.mark.parametrize(
    "text",
    [
        *("", "42", "null", "v2;00000000=1-1", "v1;", "v1;x=1-1", "v1;00000000=1"),
        *("v1;00000000=1-1;", "v1;00000000=1-1;00000000=2-2", "v1;00000000=1-1\n"),
        *("v1;0000000\u0661=1-1", "v1;00000000=1-\u0661", "v1;00000000=" + "9" * 17 + "-0"),
        "v1" + ";00000000=1-1" * 400,
    ],
)
def test_a_malformed_position_is_none(text: str) -> None:
    assert parse_position(text, CHANNELS) is None


@pytest.mark.parametrize("text", [None, b"", b"5", b"5-", b"-5", b"5-1 ", b"5-1\n", b"a-b"])
def test_a_malformed_id_is_none(text: bytes | None) -> None:
    assert parse_id(text) is None


def test_ids_are_compared_as_numbers() -> None:
    assert StreamId(9, 0) < StreamId(10, 0) < StreamId(10, 2) < StreamId(10, 10)
