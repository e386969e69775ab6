"""The wheel: complete, installable into an empty environment, and true to its file list."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.harness.servers import Server

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, ROOT],
        check=True,
        capture_output=True,
    )
    return next(directory.glob("*.whl"))


def test_the_wheel_holds_every_script_and_the_type_marker(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "flask_redis_kit"
    shipped = [p for p in package.rglob("*") if p.suffix in {".lua", ".py", ".js", ".html"}]
    assert any(path.suffix == ".lua" for path in shipped)
    assert {str(path.relative_to(ROOT)) for path in shipped} <= names
    assert "flask_redis_kit/py.typed" in names


def test_the_wheel_works_in_an_empty_environment(
    wheel: Path, tmp_path: Path, server: Server
) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [
        str(python),
        *["-m", "pip", "install", "--quiet", "--disable-pip-version-check"],
        str(wheel),
    ]
    subprocess.run(install, check=True)
    code = (
        "from flask import Flask\n"
        "from flask_redis_kit import RedisKit, RedisSessionInterface\n"
        "app = Flask('empty')\n"
        "kit = RedisKit(app)\n"
        "app.session_interface = RedisSessionInterface(kit)\n"
        "assert kit.client.ping()\n"
        "with app.app_context():\n"
        "    assert kit.cache.invalidate_tags('a') >= 0\n"
        "print('works')\n"
    )
    environment = {**os.environ, "REDIS_URL": server.url}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, "-I", "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.stdout == "works\n", done.stderr


def test_every_lua_file_has_the_header_that_its_readers_need() -> None:
    for path in (ROOT / "flask_redis_kit").rglob("*.lua"):
        text = path.read_text()
        head = text[: text.find("\nlocal ")] if "\nlocal " in text else text
        assert head.removeprefix("#!lua flags=allow-oom\n").startswith("--"), path
        for word in ("KEYS", "ARGV", "RETURNS"):
            assert word in head, f"{path.name}: its header says nothing of {word}"
        code = re.sub(r"--.*", "", text)
        # a script may touch only the keys it was given: Cluster routes by them
        assert "redis.replicate_commands" not in code, path
        assert not re.search(r"KEYS\[[^\]]+\]\s*\.\.", code), f"{path.name} builds a key name"
