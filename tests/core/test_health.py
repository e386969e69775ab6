"""Health and ``flask redis info``: replicas and their lag, warnings."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from flask import Flask

from flask_redis_kit.core import health
from tests.core.informed import info, kit_on
from tests.harness.servers import Server
from tests.waiting import wait_until

Start = Callable[..., Server]


def follow(start: Start, master: Server) -> Server:
    return start(args=("--replicaof", f"127.0.0.1 {master.port}"))


def test_a_replica_is_shown_with_the_bytes_it_is_behind(own_server: Start) -> None:
    master = own_server(args=("--repl-diskless-sync-delay", "0"))
    replica = follow(own_server, master)
    with kit_on(master.url) as kit:

        def found() -> health.Health:
            (only,) = kit.health()
            return only

        wait_until(lambda: found().lag == 0, what="the replica to follow")
        assert found().topology == "standalone"
        assert [r.address for r in found().replicas] == [f"127.0.0.1:{replica.port}"]
        replica.pause()
        kit.client.set("a", "x" * 2_000_000, ex=60)
        assert 2_000_000 < (found().lag or 0) < 2_100_000
        code, output, errors = info(kit)
        assert code == 0
        assert f"127.0.0.1:{replica.port}: {found().lag} bytes behind" in output
        assert "a failover now would lose them" in errors
        replica.resume()
        wait_until(lambda: found().lag == 0, what="the replica to catch up")


@pytest.mark.parametrize("forbidden", ["-@dangerous", "-@connection -info"])
def test_a_user_who_may_not_ask_much_learns_that_the_server_is_well(
    own_server: Start, forbidden: str
) -> None:
    server = own_server()
    with server.client() as admin:
        allowed = ["+@all", *forbidden.split(), "+hello", "+auth", "+client", "+select"]
        admin.acl_setuser("shop", enabled=True, passwords=["+pw"], keys=["*"], commands=allowed)
    cookie = {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_SAMESITE": "Lax"}
    with kit_on(server.url.replace("//", "//shop:pw@"), **cookie) as kit:
        (found,) = kit.health()
        assert (found.ok, found.error, found.version, found.role) == (True, None, None, None)
        assert (found.latency_ms or 0) > 0
        code, _, errors = info(kit)
        assert (code, errors) == (0, "")
        ping = kit.state().app.test_cli_runner().invoke(args=["redis", "ping"])
        assert ": the server answers in " in ping.output


def test_a_replica_named_as_the_server_is_warned_of(own_server: Start) -> None:
    master = own_server()
    replica = follow(own_server, master)
    with kit_on(replica.url) as kit:
        wait_until(lambda: replica.client().info("replication")["role"] == "slave")
        assert kit.health()[0].role == "slave"
        assert "is a replica: it refuses writes" in info(kit)[2]


def test_the_json_has_what_it_had_and_the_topology(server: Server) -> None:
    with kit_on(server.url) as kit:
        code, output, _ = info(kit, "--json")
    (found,) = json.loads(output)
    assert code == 0
    assert {
        "address": f"127.0.0.1:{server.port}/0",
        "ok": True,
        "role": "master",
        "breaker": "closed",
        "topology": "standalone",
        "replicas": [],
        "lag": None,
        "sentinels": [],
        "slots": None,
    }.items() <= found.items()
    assert set(found) == set(health.Health.__dataclass_fields__)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_evicts_is_warned_of_for_each_feature_that_minds(
    server: Server, policy: str
) -> None:
    with kit_on(server.url) as kit, server.client() as client:
        client.config_set("maxmemory-policy", policy)
        try:
            errors = info(kit)[2]
        finally:
            client.config_set("maxmemory-policy", "noeviction")
        for feature, cure in (
            ("sessions", "REDIS_SESSIONS_URL"),
            ("ratelimit", "REDIS_RATELIMIT_URL"),
            ("queue", "REDIS_QUEUE_URL"),
        ):
            line = next(line for line in errors.splitlines() if f"warning: {feature}: " in line)
            assert policy in line
            assert cure in line
        assert "cache:" not in errors
        assert "evicts" not in info(kit)[2]


def test_sessions_on_a_server_that_forgets_are_warned_of_where_they_are_used(
    server: Server,
) -> None:
    with server.client() as client:
        before = client.config_get("save")["save"]
        client.config_set("save", "")
        try:
            with kit_on(server.url) as kit:
                assert "sessions: " in info(kit)[2]
                assert "a restart loses all sessions" in info(kit)[2]
            with kit_on(server.url, REDIS_SESSIONS_ENABLED=False) as kit:
                assert "sessions: " not in info(kit)[2]
            with kit_on(server.url) as kit:
                kit.state().app.session_interface = Flask("plain").session_interface
                assert "sessions: " not in info(kit)[2]
        finally:
            client.config_set("save", before)


def test_a_cluster_that_is_not_there_is_one_line(own_server: Start) -> None:
    server = own_server()
    with kit_on(f"redis+cluster://127.0.0.1:{server.port}") as kit:
        server.kill()
        (found,) = kit.health()
        assert not found.ok
        assert found.topology == "cluster"
        assert str(server.port) in (found.error or "")


def test_what_a_feature_is_given_is_asked_on_its_own_server(own_server: Start) -> None:
    own = own_server(args=("--maxmemory-policy", "allkeys-lru"))
    other = own_server()
    cookie = {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_SAMESITE": "Lax"}
    with kit_on(other.url, REDIS_RATELIMIT_URL=own.url, **cookie) as kit:
        errors = info(kit)[2]
        assert "ratelimit: " in errors
        assert f"127.0.0.1:{own.port}" in errors
        assert "sessions: " not in errors


def test_named_connections_are_asked_once_each_and_called_by_their_names(
    own_server: Start,
) -> None:
    own, other, gone = own_server(), own_server(), own_server()
    gone_at = f"127.0.0.1:{gone.port}/0"
    gone.kill()
    databases = {
        "reports": {"url": other.url, "password": None, "decode_responses": True},
        "statistics": "reports",
        "itself": "default",
        "archive": f"redis://user:secret@{gone_at}",
        "scratch": 3,
    }
    with kit_on(own.url, REDIS_DATABASES=databases) as kit:
        found = {server.address: server for server in kit.health()}
        assert {at: server.databases for at, server in found.items()} == {
            f"127.0.0.1:{own.port}/0": ("itself",),
            f"127.0.0.1:{other.port}/0": ("reports", "statistics"),
            gone_at: ("archive",),
            f"127.0.0.1:{own.port}/3": ("scratch",),
        }
        assert [at for at, server in found.items() if not server.ok] == [gone_at]
        assert set(found[f"127.0.0.1:{own.port}/0"].features) == set(kit.state().features)
        assert found[gone_at].features == ()
        app = kit.state().app
        app.register_blueprint(kit.health_blueprint())
        answer = app.test_client().get("/health")
        assert answer.status_code == 503
        assert answer.json is not None
        assert len(answer.json["servers"]) == 4
        runner = app.test_cli_runner()
        ping = runner.invoke(args=["redis", "ping"])
        shown = info(kit)
        assert ping.exit_code == shown[0] == 1
        assert f"127.0.0.1:{other.port}/0 (reports, statistics): redis" in ping.stdout.replace(
            "valkey", "redis"
        )
        assert f"{gone_at} (archive): No Redis" in ping.stderr
        assert "secret" not in answer.text + ping.output + "".join(map(str, shown))


def test_a_replica_may_be_a_named_connection(own_server: Start) -> None:
    master = own_server()
    replica = follow(own_server, master)
    with kit_on(master.url, REDIS_DATABASES={"reports": replica.url}) as kit:
        wait_until(lambda: kit.health()[1].role == "slave", what="the replica to follow")
        assert "it refuses writes" not in info(kit)[2]
