"""Features of other distributions: installed, found by name, and kept to the same contract."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from flask import Flask

from flask_redis_kit import ConfigError, Feature, RedisKit
from tests.core import feature_contract
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def install(directory: Path, source: Path = HERE / "sample_plugin") -> Path:
    """Install a distribution into ``directory`` as pip would: no network, no other package."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(directory)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    return directory


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sample plugin is installed."""
    return install(tmp_path_factory.mktemp("site-packages"))


@pytest.fixture
def plugin(sample: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The sample plugin can be imported in this test."""
    monkeypatch.syspath_prepend(sample)
    yield sample
    for name in [name for name in sys.modules if name.partition(".")[0] == "frk_shortlinks"]:
        del sys.modules[name]


@pytest.mark.usefixtures("plugin")
class TestSamplePlugin(feature_contract.FeatureContract):
    name: ClassVar[str] = "shortlinks"
    commands: ClassVar[tuple[str, ...]] = ("shortlink",)
    targets: ClassVar[itertools.count[int]] = itertools.count()

    @pytest.fixture(autouse=True)
    def _declared(self, plugin: Path, extra_keyspace: list[object]) -> None:
        extra_keyspace.extend(getattr(self.kit(), self.name).keyspace)

    def write(self, app: Flask, kit: RedisKit) -> None:
        kit.shortlinks.put_later("k", f"https://example.org/{next(self.targets)}")

    def read(self, app: Flask, kit: RedisKit) -> object:
        return kit.shortlinks.get("k")


def test_a_plugin_is_imported_only_when_it_is_asked_for(plugin: Path) -> None:
    code = (
        "import sys\n"
        "from flask_redis_kit import RedisKit\n"
        "kit = RedisKit()\n"
        "assert not hasattr(kit, 'shortlinks')\n"
        "assert 'frk_shortlinks' not in sys.modules\n"
        "kit = RedisKit(features=('cache', 'shortlinks'))\n"
        "assert kit.shortlinks.name == 'shortlinks'\n"
        "assert 'frk_shortlinks.broken' not in sys.modules\n"
    )
    path = f"{plugin}:{ROOT}"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": path})


def test_a_plugin_travels_with_the_built_in_features(
    plugin: Path, proxy: Proxy, extra_keyspace: list[object]
) -> None:
    app = Flask("shop")
    app.config["REDIS_URL"] = proxy.url
    kit = RedisKit(app, features=("cache", "shortlinks"))
    extra_keyspace.extend(kit.shortlinks.keyspace)

    @app.get("/")
    def view() -> str:
        kit.shortlinks.put_later("docs", "https://example.org")
        kit.shortlinks.put_later("docs", "https://example.org/new")
        assert kit.cache.get("k") is None
        return str(kit.shortlinks.get("docs"))

    app.test_client().get("/")  # the server knows the cache's scripts from now on
    with proxy.counting() as count:
        assert app.test_client().get("/").text == "https://example.org/new"
    assert count.trips == 2
    result = app.test_cli_runner().invoke(args=["redis", "shortlink", "docs"])
    assert result.output == "https://example.org/new\n"
    with app.app_context():
        engine = kit.shortlinks.engine()
        kit.close()
    assert engine.closed


def test_each_kit_has_its_own_of_a_plugin(plugin: Path, server: Server) -> None:
    app = Flask("shop")
    app.config.update(REDIS_URL=server.url, REDIS2_URL=server.url, REDIS2_SHORTLINKS_LIFETIME="60")
    one = RedisKit(app, features=("shortlinks",))
    two = RedisKit(app, features=("shortlinks",), name="two", config_prefix="REDIS2")
    with app.app_context():
        assert one.shortlinks.context().config.lifetime == 3600
        assert two.shortlinks.context().config.lifetime == 60
        one.shortlinks.put("k", "of one")
        assert two.shortlinks.get("k") is None
        one.client.delete(one.shortlinks.engine().key("k"))
        one.close()
        two.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "frk_shortlinks.broken:BrokenFeature of frk-shortlinks 1.2, which can't be"),
        ("broken", "ModuleNotFoundError: No module named 'frk_that_is_missing'"),
        ("unmakeable", "UnmakeableFeature of frk-shortlinks 1.2, which can't be made: TypeError"),
        ("misnamed", "of frk-shortlinks 1.2, whose name is 'shortlinks'"),
        ("nothing", "of frk-shortlinks 1.2, which is no subclass of flask_redis_kit.Feature"),
        ("shortlink", "The kit has cache, ratelimit, sessions, events, queue; installed are also "),
        ("shortlink", "shortlinks (of frk-shortlinks 1.2)"),
    ],
)
def test_a_plugin_that_can_not_be_used_is_named_with_its_distribution(
    plugin: Path, name: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisKit(features=(name,))
    assert said in str(caught.value)


def test_two_distributions_with_one_name_are_told(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "source"
    (other / "frk_other").mkdir(parents=True)
    (other / "frk_other" / "__init__.py").write_text("")
    text = (HERE / "sample_plugin" / "pyproject.toml").read_text()
    (other / "pyproject.toml").write_text(
        text.replace('"frk-shortlinks"', '"frk-other"').replace("frk_shortlinks", "frk_other")
    )
    monkeypatch.syspath_prepend(install(tmp_path / "site", other))
    with pytest.raises(ConfigError) as caught:
        RedisKit(features=("shortlinks",))
    assert "frk-other 1.2 and frk-shortlinks 1.2 both offer it" in str(caught.value)


def test_a_plugin_can_not_replace_a_built_in_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tmp_path / "frk_cuckoo-1.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: frk-cuckoo\nVersion: 1\n")
    (found / "entry_points.txt").write_text(
        "[flask_redis_kit.features]\ncache = frk_that_is_missing:Cache\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert type(RedisKit(features=("cache",)).cache).__module__ == "flask_redis_kit.cache.feature"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("client", "kit.client can't be it"),
        ("my-links", "kit.my-links can't be it"),
        ("_links", "kit._links can't be it"),
        ("cache_links", "mixed up with REDIS_CACHE"),
        ("socket", "mixed up with REDIS_SOCKET_"),
        ("url", "mixed up with REDIS_URL"),
        ("été", "can't stand in a config key"),
    ],
)
def test_a_feature_has_a_name_and_settings_that_are_free(name: str, said: str) -> None:
    feature = type("Taken", (Feature,), {"name": name})()
    with pytest.raises(ConfigError) as caught:
        RedisKit().register(feature)
    assert said in str(caught.value)
