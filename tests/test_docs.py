"""The Python blocks of README and docs run, top to bottom, on a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flask_redis_kit.core import config
from flask_redis_kit.kit import BUILTIN
from tests.harness.servers import Server

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTING = re.compile(r"\bREDIS2?_[A-Z][A-Z_]*[A-Z]\b(?!_)")
MISTAKES = {"REDIS_CACHE_TLL", "REDIS_TWO"}  # as examples of such


def settings() -> set[str]:
    """The keys of all settings of the kit and its five features."""
    keys = config.known_keys(config.CoreConfig, "REDIS", None)
    for feature in (cls() for cls in BUILTIN.values()):
        keys |= config.known_keys(feature.config_class, "REDIS", feature.section)
    return keys


def test_every_setting_stands_on_a_page() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    words = set(re.findall(r"\w+", text))
    missing = {key for key in settings() - words if f"_{key.split('_', 2)[-1]}" not in words}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_on_a_page_is_one(page: Path) -> None:
    named = {name.replace("REDIS2_", "REDIS_") for name in SETTING.findall(page.read_text())}
    assert named - settings() - MISTAKES == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_of_a_page_runs(
    page: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    blocks = list(BLOCK.finditer(text))
    assert blocks, f"{page.name} shows no code"
    namespace: dict[str, object] = {"__name__": f"docs_{page.stem}"}
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        code = compile("\n" * line + block[1], str(page), "exec", dont_inherit=True)
        exec(code, namespace)  # noqa: S102  # the code is our own documentation


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text())
    for file, heading in links:
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not heading or heading in headings(target), (file, heading)


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-") for each in found}
