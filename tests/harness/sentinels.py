"""A real Sentinel group: one master, two replicas, three Sentinels, ended with the test process."""

from __future__ import annotations

import contextlib
import itertools
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import redis

from tests.harness.engines import Engine, engines
from tests.harness.servers import Server
from tests.waiting import wait_until

SERVICE = "mymaster"
# milliseconds: a group converges in seconds, and a busy machine is not taken for a dead server.
# A replica may be promoted if it was heard of in the last five ping periods; while a master is
# dead they are asked each second
PERIODS = {"ping-period": 500, "info-period": 1000, "publish-period": 500, "ask-period": 300}


class Patience(NamedTuple):
    """Seconds of silence after which a master is dead, and for each step of a failover."""

    down_after: float
    failover_timeout: float


CALM = Patience(15.0, 20.0)
"""Nothing is broken: a busy machine must not cause a failover, nor end one that was asked for."""
EAGER = Patience(0.5, 1.5)
"""A master was killed: what fails is tried again soon."""


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

    ``sentinel_password``: the daemons'. The first Sentinel finds a dead master first, and with a
    ``quorum`` of one needs nobody to agree: it leads the failover without rivals, whose split votes
    would cost seconds. It needs their votes. They are ``CALM`` until a master is harmed, and again
    when the group is stable.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        password: str | None = None,
        sentinel_password: str | None = None,
        quorum: int = 1,
    ) -> None:
        self.engine = engine or engines()[0]
        self.password = password
        self.sentinel_password = sentinel_password
        self.servers: list[Server] = []
        self.daemons: list[SentinelDaemon] = []
        self._ordered: tuple[str, ...] | None = None
        self._stack = contextlib.ExitStack()
        try:
            self._start_servers()
            self._start_daemons(quorum)
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

    def _start_daemons(self, quorum: int) -> None:
        settings = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} {quorum}",
            f"sentinel parallel-syncs {SERVICE} 2",
        ]
        if self.password:
            settings.append(f"sentinel auth-pass {SERVICE} {self.password}")
        if self.sentinel_password:
            settings.append(f"sentinel sentinel-pass {self.sentinel_password}")
        for _ in range(3):
            daemon = SentinelDaemon(
                self.engine, settings="\n".join(settings), password=self.sentinel_password
            )
            self.daemons.append(self._stack.enter_context(daemon))

    def _set(self, patience: Patience) -> None:
        for daemon, factor in zip(self.daemons, (1, 30, 30), strict=True):
            if daemon.alive and not daemon.paused:
                down_after = ("down-after-milliseconds", int(patience.down_after * factor * 1000))
                timeout = ("failover-timeout", int(patience.failover_timeout * 1000))
                self.ask(daemon, "SENTINEL", "SET", SERVICE, *down_after, *timeout)

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
        self._expect_death()
        master.kill()
        return master

    def pause_master(self) -> Server:
        """SIGSTOP; returns the server that it was."""
        master = self.master()
        self._expect_death()
        master.pause()
        return master

    def _expect_death(self) -> None:
        self._ordered = None
        self._set(EAGER)

    def failover(self, *, coordinated: bool = False) -> Server:
        """Begin one while all is well; returns the master so far. Coordinated: Valkey 9."""
        master = self.master()
        self._ordered = ("COORDINATED",) if coordinated else ()
        wait_until(self._begun, what="a failover to begin")
        return master

    @property
    def failovers_tried(self) -> int:
        """How often a Sentinel began one, whatever came of it."""
        logs = [(daemon.directory / "log").read_bytes() for daemon in self.daemons]
        return sum(log.count(b"+try-failover") for log in logs)

    def _begun(self) -> bool:
        assert self._ordered is not None
        try:
            self.ask(self.daemons[0], "SENTINEL", "FAILOVER", SERVICE, *self._ordered)
        except redis.ResponseError as refusal:
            # on a busy machine it may not have heard of any replica for half a second
            if not str(refusal).startswith(("NOGOODSLAVE", "INPROG")):
                raise
            return False
        return True

    def wait_until_switched(self, old: Server, timeout: float = 60) -> None:
        """Until all Sentinels that answer name another master."""

        def switched() -> bool:
            if all(self.port_named_by(daemon) != old.port for daemon in self.answering):
                return True
            if self._ordered is not None and self._given_up(old):
                self._begun()
            return False

        wait_until(switched, timeout, what="the Sentinels to agree on a new master")

    def _given_up(self, old: Server) -> bool:
        """Whether a failover that was ordered is over, and the master the old one."""
        master = _pairs(self.ask(self.daemons[0], "SENTINEL", "MASTER", SERVICE))
        return master["port"] == str(old.port) and "failover_in_progress" not in master["flags"]

    def wait_until_stable(self, timeout: float = 60) -> None:
        """Until every server and Sentinel runs, all agree, and a failover could begin at once."""
        for node in (*self.servers, *self.daemons):
            node.revive()
        self._ordered = None
        self._set(CALM)
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
