"""``python -m benchmarks.cache`` runs, and finds what doesn't depend on the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_benchmark_runs() -> None:
    for peer in ("cashews", "dogpile.cache", "flask_caching"):
        pytest.importorskip(peer, reason="pip install -e '.[benchmarks]'")
    command = [sys.executable, "-m", "benchmarks.cache", "--quick"]
    output = subprocess.check_output(command, cwd=Path(__file__).parents[2], text=True)
    rows = {line[:34].strip(): line[34:].split() for line in output.splitlines()}
    assert rows["round trips"][0] == "3.0"  # the last of them: misses
    assert rows["stampede of 4: computations"][0] == "1"
