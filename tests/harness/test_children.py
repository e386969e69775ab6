"""A forked child ends whatever its work does."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.harness import children


def raises() -> object:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("work", "code"), [(lambda: 1, 0), (lambda: 0, 1), (raises, 2)])
def test_the_exit_code_says_what_came_of_the_work(work: Callable[[], object], code: int) -> None:
    assert children.exit_code(children.fork(work)) == code


def test_a_child_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PATIENCE", 1)
    assert children.exit_code(children.fork(signal.pause)) == -signal.SIGALRM
