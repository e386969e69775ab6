"""``embedded://`` when programs are missing, servers die, processes fork and power fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flask_redis_kit.core.embedded import EmbeddedServer
from flask_redis_kit.core.errors import EmbeddedError
from tests.core.owner import command, family, info, is_alive
from tests.core.owning import (
    NewOwner,
    make_program,
    new_owner,
    server,
    use_engine,
    wait_until_gone,
)
from tests.waiting import wait_until

__all__ = ["new_owner", "server", "use_engine"]  # fixtures

pytestmark = pytest.mark.usefixtures("use_engine")


def server_pid(path: str) -> int:
    return int(info(path, "process_id"))


def kill(processes: list[int]) -> None:
    """All at once: none of them can act upon the death of another."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            os.kill(process, number)


def test_a_failed_start_tells_the_servers_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = make_program(tmp_path / "server", "echo the disk is full; exit 3")
    monkeypatch.setenv("REDIS_EMBEDDED_BINARY", program)
    with pytest.raises(EmbeddedError, match=r"did not start.*\n.*the disk is full"):
        EmbeddedServer(tmp_path / "redis").ensure()
    private = EmbeddedServer(tmp_path / "private", private=True)
    with pytest.raises(EmbeddedError, match=r"did not start.*\n.*the disk is full"):
        private.ensure()
    wait_until(lambda: not list((tmp_path / "private").iterdir()), what="its directory's end")


def test_damaged_data_is_reported_and_a_repaired_directory_works(tmp_path: Path) -> None:
    data = tmp_path / "redis" / "appendonlydir"
    data.mkdir(parents=True)
    manifest = data / "appendonly.aof.manifest"
    manifest.write_text("nonsense\n")
    server = EmbeddedServer(tmp_path / "redis")
    with pytest.raises(EmbeddedError, match=r"(?s)did not start.*nonsense"):
        server.ensure()
    manifest.unlink()
    processes = family(server.ensure())
    server.release()
    wait_until_gone(processes)


def test_a_server_that_never_answers_is_given_up_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'echo $$ >"{tmp_path}/pid"; exec sleep 100'
    monkeypatch.setenv("REDIS_EMBEDDED_BINARY", make_program(tmp_path / "server", script))
    with pytest.raises(EmbeddedError, match=r"gave no answer for 0\.5 s"):
        EmbeddedServer(tmp_path / "redis", start_timeout=0.5).ensure()
    wait_until_gone({int((tmp_path / "pid").read_text())})


@pytest.mark.parametrize("verify", [True, False])
def test_a_server_that_was_killed_comes_back_with_its_data(
    tmp_path: Path, new_owner: NewOwner, server: EmbeddedServer, verify: bool
) -> None:
    path = server.ensure()
    other = new_owner(tmp_path / "redis")
    other.ask("ensure")
    command(path, "SET", "kept", "yes")
    server_id, processes = info(path, "run_id"), family(path)
    os.kill(server_pid(path), signal.SIGKILL)
    if not verify:
        wait_until_gone(processes)
    path = server.ensure(verify=verify)
    assert command(path, "GET", "kept") == "$3\r\nyes\r\n"
    assert info(path, "run_id") != server_id
    assert other.ask("verify") == path
    processes = family(path)
    server.release()
    assert command(other.ask("verify"), "GET", "kept") == "$3\r\nyes\r\n"
    assert family(path) == processes
    other.kill()
    wait_until_gone(processes)


def test_a_private_server_that_was_killed_is_replaced(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, private=True)
    path = server.ensure()
    os.kill(server_pid(path), signal.SIGKILL)
    assert command(server.ensure(verify=True), "PING") == "+PONG\r\n"
    processes = family(server.ensure())
    server.release()
    wait_until_gone(processes)
    wait_until(lambda: not list(tmp_path.iterdir()), what="both directories' end")


def test_whichever_part_of_the_launcher_is_killed_nothing_is_left(tmp_path: Path) -> None:
    parts = len(family_of_a_fresh_server(tmp_path / "whole"))
    for part in range(parts):
        server = EmbeddedServer(tmp_path / str(part))
        processes = family(server.ensure())
        os.kill(sorted(processes)[part], signal.SIGKILL)
        server.release()
        wait_until_gone(processes)


def family_of_a_fresh_server(directory: Path) -> set[int]:
    server = EmbeddedServer(directory)
    processes = family(server.ensure())
    server.release()
    wait_until_gone(processes)
    return processes


def test_an_owner_whose_launcher_was_killed_gets_a_server_again(tmp_path: Path) -> None:
    """The launcher and its server die, and only the watcher is left, which would let us join."""
    server = EmbeddedServer(tmp_path)
    path = server.ensure()
    processes = family(path)
    command(path, "SET", "kept", "yes")
    watcher = max(processes)
    kill([process for process in sorted(processes) if process != watcher])
    assert command(server.ensure(verify=True), "GET", "kept") == "$3\r\nyes\r\n"
    processes |= family(path)
    server.release()
    wait_until_gone(processes)


def test_a_server_without_its_launcher_keeps_others_off_its_data(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    path = server.ensure()
    orphan = server_pid(path)
    kill([process for process in family(path) if process != orphan])
    with pytest.raises(EmbeddedError, match="A server still holds"):
        EmbeddedServer(tmp_path, start_timeout=0.2).ensure()
    kill([orphan])
    newcomer = EmbeddedServer(tmp_path)  # a busy machine needs more than 0.2 s to start one
    processes = family(newcomer.ensure())
    newcomer.release()
    wait_until_gone(processes)


def test_after_a_power_cut_what_lies_around_does_not_matter(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owner = new_owner(tmp_path)
    path = owner.ask("ensure")
    processes = family(path)
    command(path, "SET", "kept", "yes")
    os.killpg(os.getpgid(server_pid(path)), signal.SIGKILL)
    owner.kill()
    wait_until_gone(processes)
    assert Path(path).exists()
    assert (tmp_path / "owners").exists()
    assert command(new_owner(tmp_path).ask("ensure"), "GET", "kept") == "$3\r\nyes\r\n"


def test_a_newcomer_waits_for_a_dying_server_and_starts_the_next(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    first, second = new_owner(tmp_path), new_owner(tmp_path)
    path = first.ask("ensure")
    dying, server_id, processes = server_pid(path), info(path, "run_id"), family(path)
    os.kill(dying, signal.SIGSTOP)
    first.kill()
    second.tell("ensure")
    wait_until(lambda: not is_reading(tmp_path), what="the launcher to let go of the FIFO")
    os.kill(dying, signal.SIGCONT)
    assert info(second.hear(), "run_id") != server_id
    assert not any(map(is_alive, processes))


def is_reading(directory: Path) -> bool:
    try:
        os.close(os.open(directory / "owners", os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_a_server_that_is_stuck_in_a_script_ends_with_its_owner(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owner = new_owner(tmp_path)
    path = owner.ask("ensure")
    processes = family(path)
    stuck = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(b'EVAL \"while true do end\" 0\\r\\n'); print('sent', flush=True);"
            "s.recv(1)",
            path,
        ],
        stdout=subprocess.PIPE,
    )
    assert stuck.stdout
    stuck.stdout.readline()
    owner.kill()
    wait_until_gone(processes)
    stuck.communicate()


def test_the_exit_of_a_forked_child_harms_nothing(tmp_path: Path, new_owner: NewOwner) -> None:
    owner = new_owner(tmp_path)
    path = owner.ask("ensure")
    server_id = info(path, "run_id")
    assert owner.ask("fork a child that exits") == "0"
    # the launcher answers a newcomer after it has noticed what the child did
    assert info(new_owner(tmp_path).ask("ensure"), "run_id") == server_id
    assert info(owner.ask("verify"), "run_id") == server_id


def test_a_forked_child_keeps_the_server_that_it_inherited(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owner = new_owner(tmp_path)
    path = owner.ask("ensure")
    server_id, processes = info(path, "run_id"), family(path)
    child = int(owner.ask("fork a child that stays"))
    owner.kill()
    newcomer = new_owner(tmp_path)
    assert info(newcomer.ask("ensure"), "run_id") == server_id
    newcomer.kill()
    assert info(path, "run_id") == server_id
    os.kill(child, signal.SIGKILL)
    wait_until_gone(processes)


def test_a_program_that_the_application_runs_does_not_hold_the_server(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owner = new_owner(tmp_path)
    processes = family(owner.ask("ensure"))
    program = int(owner.ask("run a program that stays"))
    owner.ask("release")
    wait_until_gone(processes)
    assert is_alive(program)


def test_children_forked_during_the_start_hold_neither_lock_nor_server(
    tmp_path: Path, new_owner: NewOwner
) -> None:
    owner = new_owner(tmp_path, program="fork_during_ensure")
    children: list[int] = []
    started = None
    while len(children) != started:  # they speak in any order
        match owner.hear().split():
            case ["started", number]:
                started = int(number)
            case [child]:
                children.append(int(child))
    newcomer = EmbeddedServer(tmp_path)
    processes = family(newcomer.ensure())
    newcomer.release()
    wait_until_gone(processes)
    assert all(map(is_alive, children))
    kill(children)
