"""What takes long: it runs only when it is asked for by path, as ``make chaos`` does."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests of this folder out unless it, or a file in it, was named."""
    named = (Path(argument.partition("::")[0]).resolve() for argument in config.args)
    if any(path == _HERE or _HERE in path.parents for path in named):
        return
    ours = [item for item in items if _HERE in item.path.parents]
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in set(ours)]
