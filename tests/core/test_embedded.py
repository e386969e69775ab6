"""``embedded://``: one real server per directory, shared by an application's processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flask_redis_kit.core.embedded import EmbeddedServer
from flask_redis_kit.core.errors import ConfigError, EmbeddedError
from tests.core.owner import command, family, info, run
from tests.core.owning import NewOwner, new_owner, server, use_engine, wait_until_gone
from tests.waiting import wait_until

__all__ = ["new_owner", "server", "use_engine"]  # fixtures

pytestmark = pytest.mark.usefixtures("use_engine")


def mode(path: Path | str) -> int:
    return stat.S_IMODE(Path(path).lstat().st_mode)


def test_it_serves_on_a_private_unix_socket_alone_and_keeps_its_data_on_disk(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    path = server.ensure()
    assert command(path, "PING") == "+PONG\r\n"
    assert info(path, "tcp_port") == "0"
    assert info(path, "aof_enabled") == "1"
    assert command(path, "CONFIG", "GET", "appendfsync").split()[-1] == "everysec"
    assert mode(path) == 0o700
    assert mode(tmp_path / "redis") == 0o700
    readable_by_others = [p for p in (tmp_path / "redis").rglob("*") if mode(p) & 0o077]
    assert readable_by_others == []


def test_a_held_server_is_sent_nothing_unless_it_shall_be_verified(server: EmbeddedServer) -> None:
    path = server.ensure()

    def commands() -> int:
        return int(info(path, "total_commands_processed"))

    before = commands()
    for _ in range(100):
        assert server.ensure() == path
    assert commands() - before == 1
    assert server.ensure(verify=True) == path
    assert commands() - before == 3


def test_data_is_there_after_a_restart(server: EmbeddedServer) -> None:
    path = server.ensure()
    processes = family(path)
    command(path, "SET", "kept", "yes")
    server.release()
    wait_until_gone(processes)
    assert command(server.ensure(), "GET", "kept") == "$3\r\nyes\r\n"


def test_no_orphan_is_left_after_sigkill_of_the_last_owner(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owner = new_owner(tmp_path)
    processes = family(owner.ask("ensure"))
    owner.kill()
    wait_until_gone(processes)


def test_an_owner_that_ends_without_release_says_nothing_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    program = (
        "import sys; from flask_redis_kit.core.embedded import EmbeddedServer;"
        "server = EmbeddedServer(sys.argv[1]); print(server.ensure())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert Path(done.stdout.strip()).parent == tmp_path.resolve()


def test_four_unrelated_processes_share_one_server_until_the_last_is_gone(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owners = [new_owner(tmp_path) for _ in range(4)]
    for owner in owners:
        owner.tell("ensure")  # all at the same time
    (path,) = {owner.hear() for owner in owners}
    server_id, processes = info(path, "run_id"), family(path)
    for owner in owners[:3]:
        owner.kill()
    # the launcher counts a newcomer only after it has seen the others go
    assert info(new_owner(tmp_path).ask("ensure"), "run_id") == server_id
    owners[3].kill()
    new_owner(tmp_path).ask("ensure")
    assert family(path) == processes


def test_ctrl_c_lets_the_application_finish_with_the_server_still_there(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owner = new_owner(tmp_path)
    processes = family(owner.ask("ensure"))
    owner.interrupt()
    assert owner.hear() == "+OK"
    owner.close()
    wait_until_gone(processes)
    log = (tmp_path / "server.log").read_text()  # the server notes a signal as it arrives
    assert "SIGTERM" in log
    assert "SIGINT" not in log
    assert command(new_owner(tmp_path).ask("ensure"), "GET", "finished") == "$3\r\nyes\r\n"


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_newcomer_never_joins_a_dying_server_nor_starts_a_second_one(
    tmp_path: Path, processes: int
) -> None:
    visits = [line.split() for line in run("come_and_go", tmp_path, str(processes), "60")]
    counts = sorted(int(count) for _, count in visits)
    assert counts == list(range(1, 60 * processes + 1)), "two servers used the same data"
    assert len({server_id for server_id, _ in visits}) > 1, "no server ended: nothing was tried"


def test_two_holders_in_one_process_are_two(server: EmbeddedServer, tmp_path: Path) -> None:
    other = EmbeddedServer(tmp_path / "redis")
    path = other.ensure()
    assert path == server.ensure()
    server_id = info(path, "run_id")
    other.release()
    assert info(other.ensure(), "run_id") == server_id
    server.release()
    assert info(server.ensure(), "run_id") == server_id
    del other


def test_threads_that_ask_at_once_get_one_server(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    paths: list[str] = []
    threads = [threading.Thread(target=lambda: paths.append(server.ensure())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [server.ensure()] * 8
    processes = family(paths[0])
    server.release()
    wait_until_gone(processes)


def test_the_output_of_an_application_ends_with_the_application(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owner = new_owner(tmp_path)
    owner.ask("ensure")
    other = EmbeddedServer(tmp_path)
    path = other.ensure()  # so that the server stays
    rest, _ = owner.process.communicate(timeout=60)
    assert rest == ""
    assert command(path, "PING") == "+PONG\r\n"
    other.release()


def test_a_path_that_is_too_long_for_a_socket_gets_a_short_one_that_all_agree_on(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    directory = tmp_path / ("long" * 30)
    elsewhere = tmp_path / "t"
    elsewhere.mkdir()
    first = new_owner(directory)
    path = first.ask("ensure")
    assert len(os.fsencode(path)) < 104
    assert mode(Path(path).parent) == 0o700
    assert mode(path) == 0o700
    second = new_owner(directory, TMPDIR=str(elsewhere))
    assert second.ask("ensure") == path
    processes = family(path)
    first.kill()
    second.kill()
    wait_until_gone(processes)
    assert not Path(path).parent.exists()


def test_a_short_socket_directory_that_others_may_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(tmp_path / ("long" * 30))
    planted = Path(server.ensure()).parent
    processes = family(server.ensure())
    server.release()
    wait_until_gone(processes)
    planted.mkdir()
    planted.chmod(0o777)
    try:
        with pytest.raises(EmbeddedError, match="Other users may write to"):
            server.ensure()
    finally:
        planted.rmdir()


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(EmbeddedError, match="chmod 700"):
        EmbeddedServer(tmp_path).ensure()
    assert list(tmp_path.iterdir()) == []
    tmp_path.chmod(0o700)


def test_a_private_server_is_gone_with_its_owner_and_its_directory_too(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owners = [new_owner(tmp_path, "private") for _ in range(2)]
    paths = [Path(owner.ask("ensure")) for owner in owners]
    assert paths[0].parent != paths[1].parent
    assert mode(paths[0].parent) == 0o700
    processes = family(str(paths[0]))
    owners[0].kill()
    wait_until_gone(processes)
    assert not paths[0].parent.exists()
    assert command(str(paths[1]), "PING") == "+PONG\r\n"
    processes = family(str(paths[1]))
    owners[1].ask("release")
    wait_until_gone(processes)
    assert list(tmp_path.iterdir()) == []


def test_only_a_private_server_needs_no_directory() -> None:
    with pytest.raises(ConfigError, match="embedded:///"):
        EmbeddedServer(None)
    server = EmbeddedServer(None, private=True)
    path = server.ensure()
    processes = family(path)
    server.release()
    wait_until_gone(processes)
    assert not Path(path).parent.exists()


def test_a_signal_that_the_application_ignores_or_blocks_still_ends_the_server(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owner = new_owner(tmp_path, "deaf")
    path = owner.ask("ensure")
    command(path, "BGREWRITEAOF")  # its child would not be missed by a server that ignores SIGCHLD
    wait_until(lambda: info(path, "aof_rewrite_in_progress") == "0", what="the rewrite's end")
    assert info(path, "aof_last_bgrewrite_status") == "ok"
    log = tmp_path / "server.log"
    processes = family(path)
    os.kill(owner.process.pid, signal.SIGKILL)
    owner.close()
    wait_until_gone(processes)
    assert "bye bye" in log.read_text(), "it was killed, not stopped"


def test_an_unknown_locale_does_not_reach_the_server(tmp_path: Path, new_owner: NewOwner) -> None:
    """Some versions only warn, others do not start."""
    path = new_owner(tmp_path, LC_ALL="xx_XX.UTF-8").ask("ensure")
    assert command(path, "PING") == "+PONG\r\n"
    assert "LOCALE" not in (tmp_path / "server.log").read_text()
