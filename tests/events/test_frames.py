"""Framing: what a browser reads is what was published, whatever it contains."""

from __future__ import annotations

import pytest

from flask_redis_kit.events.frames import event_lines, id_line, preamble, reset_lines
from tests.events.browser import EventParser, Received

NASTY = [
    "",
    "\r",
    "\n",
    "\r\n",
    "a\nid: 1\ndata: b",
    "a\r\n\r\nevent: x\r\ndata: y\r\n\r\n",
    "\u2028\u2029\x0b\x0c\x1c\x85",
    ": comment",
    " leading",
    "trailing ",
    "retry: 1",
]


def parsed(*frames: bytes) -> list[Received]:
    """What a browser makes of it."""
    parser = EventParser()
    return [event for frame in frames for event in parser.feed(frame)]


@pytest.mark.parametrize("text", NASTY)
def test_data_arrives_as_one_event_with_its_line_ends_normalised(text: str) -> None:
    (event,) = parsed(event_lines("made", text.encode()))
    normalised = text.replace("\r\n", "\n").replace("\r", "\n")
    assert event == Received("made", normalised, "")


@pytest.mark.parametrize("text", ["x\r\ndata: y", "x\ny", "x\0", "\r\n\r\nid: 7\r\n\r\n"])
def test_neither_a_type_nor_a_position_can_add_a_line(text: str) -> None:
    harmless = text.replace("\r", "").replace("\n", "").replace("\0", "")
    (event,) = parsed(id_line(text), event_lines(text, b"1"))
    assert event == Received(harmless, "1", harmless)


def test_an_event_without_data_is_still_dispatched() -> None:
    assert parsed(event_lines("made", b"")) == [Received("made", "", "")]


def test_nul_does_not_reach_the_browser() -> None:
    assert b"\0" not in event_lines("made", b"a\0b")


def test_the_preamble_sets_the_position_and_the_pause_without_an_event() -> None:
    parser = EventParser()
    assert not list(parser.feed(preamble("v1;x", 2.5)))
    assert (parser.last_event_id, parser.retry) == ("v1;x", 2500)


def test_a_stream_that_does_not_know_its_position_leaves_the_browsers_as_it_was() -> None:
    assert b"id" not in preamble(None, 1)


def test_a_reset_names_the_channel() -> None:
    (event,) = parsed(reset_lines("sales", "now"))
    assert event.type == "reset"
    assert event.content == {"type": "reset", "data": {"channel": "sales"}, "timestamp": "now"}
