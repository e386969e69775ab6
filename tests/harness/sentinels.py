"""A real Sentinel group: one master, two replicas, three Sentinels, ended with the test process."""

from __future__ import annotations

import contextlib
import itertools
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tests.harness.engines import Engine, engines
from tests.harness.servers import Server
from tests.waiting import wait_until

SERVICE = "mymaster"
# milliseconds: a group converges in seconds, and a busy machine is not taken for a dead server
PERIODS = {"ping-period": 100, "info-period": 1000, "publish-period": 500, "ask-period": 300}


class SentinelDaemon(Server):
    """One Sentinel: a ``Server`` whose settings are a file that the daemon itself rewrites."""

    def __init__(self, engine: Engine, *, settings: str, password: str | None = None) -> None:
        self._settings = settings
        super().__init__(engine, password=password)

    def start(self) -> None:
        """Start it, with shorter periods than the usual 1, 10, 2 and 1 seconds."""
        super().start()
        with self.client() as client:
            client.execute_command("SENTINEL", "DEBUG", *itertools.chain(*PERIODS.items()))

    def _command(self, port: int) -> list[str]:
        configuration = self.directory / "sentinel.conf"
        if not configuration.exists():  # started again, it remembers what it learned
            lines = [f"port {port}", f"unixsocket {self.socket_path}", "bind 127.0.0.1"]
            lines += [f"dir {self.directory}", "protected-mode no"]
            lines += [f"requirepass {self.password}"] if self.password else []
            configuration.write_text("\n".join([*lines, self._settings]) + "\n")
        return [self.engine.binary, str(configuration), "--sentinel"]


class SentinelGroup:
    """Servers under Sentinel, all on 127.0.0.1. ``password``: the data servers' own.

    ``sentinel_password``: the daemons'. ``down_after`` and ``failover_timeout`` are seconds. The
    first Sentinel finds a dead master first, and with a ``quorum`` of one needs nobody to agree: it
    leads the failover without rivals, whose split votes would cost seconds. It needs their votes.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        password: str | None = None,
        sentinel_password: str | None = None,
        quorum: int = 1,
        down_after: float = 0.5,
        failover_timeout: float = 1.5,
    ) -> None:
        self.engine = engine or engines()[0]
        self.password = password
        self.sentinel_password = sentinel_password
        self.servers: list[Server] = []
        self.daemons: list[SentinelDaemon] = []
        self._stack = contextlib.ExitStack()
        try:
            self._start_servers()
            self._start_daemons(quorum, down_after, failover_timeout)
            self.wait_until_stable()
        except BaseException:
            self.stop()
            raise

    def _start_servers(self) -> None:
        secret = ("--masterauth", self.password) if self.password else ()
        quick = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        for _ in range(3):
            follow: tuple[str, ...] = ()
            if self.servers:
                follow = ("--replicaof", f"127.0.0.1 {self.servers[0].port}")
            server = Server(self.engine, password=self.password, args=(*secret, *quick, *follow))
            self.servers.append(self._stack.enter_context(server))

    def _start_daemons(self, quorum: int, down_after: float, failover_timeout: float) -> None:
        settings = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} {quorum}",
            f"sentinel failover-timeout {SERVICE} {int(failover_timeout * 1000)}",
            f"sentinel parallel-syncs {SERVICE} 2",
        ]
        if self.password:
            settings.append(f"sentinel auth-pass {SERVICE} {self.password}")
        if self.sentinel_password:
            settings.append(f"sentinel sentinel-pass {self.sentinel_password}")
        for factor in (1, 3, 3):
            patience = int(down_after * factor * 1000)
            own = [*settings, f"sentinel down-after-milliseconds {SERVICE} {patience}"]
            daemon = SentinelDaemon(
                self.engine, settings="\n".join(own), password=self.sentinel_password
            )
            self.daemons.append(self._stack.enter_context(daemon))

    # addresses

    @property
    def url(self) -> str:
        """The ``redis+sentinel://`` address, with both passwords."""
        return self.url_with()

    def url_with(self, **options: object) -> str:
        """The address, with these options in its query."""
        hosts = ",".join(f"127.0.0.1:{daemon.port}" for daemon in self.daemons)
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        if self.sentinel_password:
            options["sentinel_password"] = quote(self.sentinel_password, safe="")
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"redis+sentinel://{secret}{hosts}/{SERVICE}/0" + (f"?{query}" if query else "")

    def ask(self, daemon: Server, *command: object) -> Any:
        """What one Sentinel replies."""
        with daemon.client(socket_timeout=5, decode_responses=True) as client:
            return client.execute_command(*command)

    @property
    def answering(self) -> list[SentinelDaemon]:
        """The Sentinels that are neither dead nor paused."""
        return [daemon for daemon in self.daemons if daemon.alive and not daemon.paused]

    def port_named_by(self, daemon: Server) -> int:
        """The master's port, as this Sentinel sees it."""
        return int(self.ask(daemon, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def master(self) -> Server:
        """The server that most Sentinels that answer name as the master."""
        ports = [self.port_named_by(daemon) for daemon in self.answering]
        port = max(set(ports), key=ports.count)
        return next(server for server in self.servers if server.port == port)

    def replicas(self) -> list[Server]:
        """The others."""
        master = self.master()
        return [server for server in self.servers if server is not master]

    # what happens to it

    def kill_master(self) -> Server:
        """SIGKILL; returns the server that it was."""
        master = self.master()
        master.kill()
        return master

    def pause_master(self) -> Server:
        """SIGSTOP; returns the server that it was."""
        master = self.master()
        master.pause()
        return master

    def failover(self, *, coordinated: bool = False) -> Server:
        """Begin one while all is well; returns the master so far. Coordinated: Valkey 9."""
        master = self.master()
        words = ("COORDINATED",) if coordinated else ()
        assert self.ask(self.daemons[0], "SENTINEL", "FAILOVER", SERVICE, *words)
        return master

    @property
    def failovers_tried(self) -> int:
        """How often a Sentinel began one, whatever came of it."""
        logs = [(daemon.directory / "log").read_bytes() for daemon in self.daemons]
        return sum(log.count(b"+try-failover") for log in logs)

    def wait_until_switched(self, old: Server, timeout: float = 30) -> None:
        """Until all Sentinels that answer name another master."""

        def switched() -> bool:
            return all(self.port_named_by(daemon) != old.port for daemon in self.answering)

        wait_until(switched, timeout, what="the Sentinels to agree on a new master")

    def wait_until_stable(self, timeout: float = 60) -> None:
        """Until every server and Sentinel runs, all agree, and a failover could begin at once."""
        for node in (*self.servers, *self.daemons):
            node.revive()
        try:
            wait_until(self._stable, timeout, what="the group to be stable")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._report()}") from None

    def _stable(self) -> bool:
        masters = {self._view(daemon) for daemon in self.daemons}
        if len(masters) != 1:
            return False
        port = next(iter(masters))
        if port is None:
            return False
        roles = [self._role(server) for server in self.servers]
        followers = [role for role in roles if role == ("slave", port, "connected")]
        return len(followers) == len(self.servers) - 1

    def _view(self, daemon: Server) -> int | None:
        """The master's port, if this Sentinel finds everything in order."""
        master = _pairs(self.ask(daemon, "SENTINEL", "MASTER", SERVICE))
        replicas = self.ask(daemon, "SENTINEL", "REPLICAS", SERVICE)
        others = self.ask(daemon, "SENTINEL", "SENTINELS", SERVICE)
        port = master["port"]
        good = master["flags"] == "master" and int(master["num-other-sentinels"]) == 2
        for replica in map(_pairs, replicas):
            good &= replica["flags"] == "slave" and replica["master-port"] == port
            good &= replica["master-link-status"] == "ok"
        for other in map(_pairs, others):
            good &= not {"s_down", "disconnected"} & set(other["flags"].split(","))
        return int(port) if good and len(replicas) == 2 else None

    def _role(self, server: Server) -> tuple[str, int, str] | None:
        with server.client(socket_timeout=5, decode_responses=True) as client:
            role = client.execute_command("ROLE")
        return (role[0], int(role[2]), role[3]) if role[0] == "slave" else None

    def _report(self) -> str:
        lines = [f"{server.port}: {self._role(server) or 'master'}" for server in self.servers]
        for daemon in self.daemons:
            lines.append(f"{daemon.port} sees {self._view(daemon)}")
            lines += [f"  {fact}" for fact in self.ask(daemon, "SENTINEL", "REPLICAS", SERVICE)]
            lines.append((daemon.directory / "log").read_text()[-1500:])
        return "\n".join(lines)

    # what it holds

    def flush(self) -> None:
        """Remove all keys and scripts, and wait until the replicas have too."""
        with self.master().client() as client:
            client.flushall()
            client.script_flush()
            client.wait(2, 5000)

    def stop(self) -> None:
        """End all of it."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _pairs(reply: Any) -> dict[str, Any]:
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))
