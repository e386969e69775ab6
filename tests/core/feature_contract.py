"""What every feature must be, built-in or of another distribution: a suite to derive from.

A test module imports ``FeatureContract`` by its module, derives a class ``Test…`` from it, and says
how the feature is used: ``write`` does something that leaves a key, ``read`` returns something that
is another value afterwards.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import redis
from flask import Flask

from flask_redis_kit import ConfigError, Context, RedisKit, RedisKitError
from flask_redis_kit.core.keys import key_pattern
from tests.harness.leaks import Spec, unexpected_persistent_keys
from tests.harness.proxy import Proxy
from tests.harness.servers import Server, free_port
from tests.waiting import wait_until


class FeatureContract:
    """One feature; the five built-in ones pass it."""

    name: ClassVar[str]
    commands: ClassVar[tuple[str, ...]] = ()
    """Its commands of ``flask redis``."""

    def kit(self) -> RedisKit:
        """A kit that has the feature."""
        return RedisKit(features=(self.name,))

    def prepare(self, app: Flask, kit: RedisKit) -> None:
        """Add what ``write`` and ``read`` need to an application."""

    def write(self, app: Flask, kit: RedisKit) -> None:
        """Do something that leaves a key. Called with the application's context."""
        raise NotImplementedError

    def read(self, app: Flask, kit: RedisKit) -> object:
        """Something that another ``write`` changes. Called with the application's context."""
        raise NotImplementedError

    # the rest is the suite

    @pytest.fixture(autouse=True)
    def _declared(self, extra_keyspace: list[Spec]) -> None:
        extra_keyspace.extend(getattr(self.kit(), self.name).keyspace)

    @pytest.fixture
    def closing(self) -> Iterator[Callable[..., Flask]]:
        """Makes applications, and closes them at the end."""
        made: list[tuple[Flask, RedisKit]] = []

        def make(kit: RedisKit, name: str, **settings: Any) -> Flask:
            app = Flask(name)
            app.config.update(settings)
            kit.init_app(app)
            self.prepare(app, kit)
            made.append((app, kit))
            return app

        yield make
        for app, kit in made:
            with app.app_context():
                kit.close()

    def wrote(self, app: Flask, kit: RedisKit) -> bool:
        """Whether a write changes what is read."""
        with app.app_context(), contextlib.suppress(RedisKitError):
            before = self.read(app, kit)
            self.write(app, kit)
            return before != self.read(app, kit)
        return False

    @property
    def section(self) -> str:
        section: str = getattr(self.kit(), self.name).section
        return section

    def test_two_applications_have_nothing_in_common(
        self, server: Server, closing: Callable[..., Flask]
    ) -> None:
        kit = self.kit()
        one, two = (closing(kit, name, REDIS_URL=server.url) for name in ("one", "two"))
        with two.app_context():
            before = self.read(two, kit)
        assert self.wrote(one, kit)
        with two.app_context():
            assert self.read(two, kit) == before
        assert self.wrote(two, kit)

    def test_the_off_switch_is_of_one_application_and_sends_nothing(
        self, server: Server, proxy: Proxy, closing: Callable[..., Flask]
    ) -> None:
        kit = self.kit()
        switched = {f"REDIS_{self.section}_ENABLED": "false"}
        off = closing(kit, "off", REDIS_URL=proxy.url, **switched)
        assert not self.wrote(off, kit)
        assert (proxy.trips, proxy.connections) == (0, 0)
        assert self.wrote(closing(kit, "on", REDIS_URL=server.url), kit)
        assert "off" in off.test_cli_runner().invoke(args=["redis", "features"]).output

    def test_every_key_is_declared_named_after_the_application_and_goes_away(
        self, server: Server, closing: Callable[..., Flask]
    ) -> None:
        kit = self.kit()
        assert self.wrote(closing(kit, "shop", REDIS_URL=server.url), kit)
        specs = getattr(kit, self.name).keyspace
        with server.client() as client:
            keys = list(client.scan_iter())
            assert keys
            assert unexpected_persistent_keys(client, specs) == []
            for key in keys:
                assert key.startswith(b"frk:{shop:")
                assert any(key_pattern(spec).fullmatch(key) for spec in specs)
        for spec in specs:
            assert spec.meaning

    def test_a_server_of_its_own_gets_its_keys(
        self, server: Server, closing: Callable[..., Flask]
    ) -> None:
        kit = self.kit()
        own = {f"REDIS_{self.section}_URL": f"redis://127.0.0.1:{server.port}/1"}
        assert self.wrote(closing(kit, "shop", REDIS_URL=server.url, **own), kit)
        with server.client() as client, server.client(db=1) as other:
            assert (client.dbsize(), other.dbsize() > 0) == (0, True)

    def test_making_it_sends_nothing_and_starts_no_thread(
        self, closing: Callable[..., Flask]
    ) -> None:
        threads = threading.active_count()
        kit = self.kit()
        app = closing(kit, "shop", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
        with app.app_context():
            getattr(kit, self.name).engine()
        assert threading.active_count() == threads

    def test_the_feature_keeps_nothing_of_an_application(
        self, server: Server, closing: Callable[..., Flask]
    ) -> None:
        kit = self.kit()
        self.wrote(closing(kit, "shop", REDIS_URL=server.url), kit)
        kept = vars(getattr(kit, self.name)).values()
        assert not any(isinstance(value, Flask | redis.Redis | Context) for value in kept)

    def test_commands_and_keys_are_listed(
        self, server: Server, closing: Callable[..., Flask]
    ) -> None:
        kit = self.kit()
        run = closing(kit, "shop", REDIS_URL=server.url).test_cli_runner().invoke
        listed = run(args=["redis", "--help"]).output
        for command in self.commands:
            assert f"\n  {command} " in listed
            assert run(args=["redis", command, "--help"]).exit_code == 0
        assert {command.name for command in getattr(kit, self.name).commands()} == set(
            self.commands
        )
        assert self.name in run(args=["redis", "features"]).output
        keys = run(args=["redis", "keys"]).output
        assert all(spec.pattern in keys for spec in getattr(kit, self.name).keyspace)
        assert f"REDIS_{self.section}_ENABLED" in run(args=["redis", "config"]).output

    def test_closing_ends_its_connections(
        self, proxy: Proxy, closing: Callable[..., Flask]
    ) -> None:
        kit = self.kit()
        app = closing(kit, "shop", REDIS_URL=proxy.url)
        assert self.wrote(app, kit)
        assert proxy.open_connections > 0
        with app.app_context():
            kit.close()
        wait_until(lambda: proxy.open_connections == 0, what="the connections to end")

    @pytest.mark.parametrize(("key", "value"), [("NO_SUCH_KEY", 1), ("ENABLED", "perhaps")])
    def test_a_wrong_setting_of_its_own_is_refused(self, key: str, value: object) -> None:
        app = Flask("shop")
        app.config[f"REDIS_{self.section}_{key}"] = value
        with pytest.raises(ConfigError) as caught:
            self.kit().init_app(app)
        assert caught.value.key == f"REDIS_{self.section}_{key}"

    def test_in_a_request_a_read_sees_what_was_written_before_it(
        self, server: Server, closing: Callable[..., Flask]
    ) -> None:
        kit = self.kit()
        app = closing(kit, "shop", REDIS_URL=server.url)
        seen: list[bool] = []

        @app.get("/contract")
        def view() -> str:
            for _ in range(2):
                before = self.read(app, kit)
                self.write(app, kit)
                seen.append(self.read(app, kit) != before)
            return "ok"

        assert app.test_client().get("/contract").status_code == 200
        assert seen == [True, True]
