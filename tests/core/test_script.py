"""Scripts: read when first used, by whatever thread or process comes first."""

from __future__ import annotations

import threading
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from flask_redis_kit.core import script
from flask_redis_kit.core.script import Script
from tests.harness.children import exit_code, fork


def test_a_child_forked_while_a_script_is_read_can_read_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    (tmp_path / "slow.lua").write_bytes(b"return 1")

    def slow_files(package: str) -> Any:
        if package != "slow":
            return files(package)
        reading.set()
        go_on.wait(60)
        return tmp_path

    monkeypatch.setattr(script, "files", slow_files)
    reader = threading.Thread(target=lambda: Script("slow", "slow.lua").sha)
    reader.start()
    assert reading.wait(60)
    child = fork(lambda: len(Script("flask_redis_kit.sessions", "lua/save.lua").sha) == 40)
    assert exit_code(child) == 0
    go_on.set()
    reader.join(60)
