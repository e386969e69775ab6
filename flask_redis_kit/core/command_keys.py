"""The user's own commands: which arguments are keys, and which commands can't be in a transaction.

What stands here is only needed to name keys of different slots before anything is sent; of commands
that it doesn't know, the first argument is taken for the key, and the server knows better.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask_redis_kit.core.script import Arg

_KEYS: dict[str, slice] = {
    **dict.fromkeys(("PUBLISH", "PING", "ECHO", "TIME", "INFO", "DBSIZE"), slice(0)),
    **dict.fromkeys(("CONFIG", "SCRIPT", "FUNCTION", "FLUSHDB", "FLUSHALL"), slice(0)),
    **dict.fromkeys(("DEL", "UNLINK", "EXISTS", "TOUCH", "MGET"), slice(None)),
    **dict.fromkeys(("PFCOUNT", "PFMERGE", "SDIFF", "SINTER", "SUNION"), slice(None)),
    **dict.fromkeys(("SDIFFSTORE", "SINTERSTORE", "SUNIONSTORE"), slice(None)),
    **dict.fromkeys(("RENAME", "RENAMENX", "COPY", "SMOVE", "LMOVE", "RPOPLPUSH"), slice(2)),
    **dict.fromkeys(("GEOSEARCHSTORE", "ZRANGESTORE"), slice(2)),
    **dict.fromkeys(("MSET", "MSETNX"), slice(None, None, 2)),
    **dict.fromkeys(("OBJECT", "XGROUP", "XINFO", "MEMORY"), slice(1, 2)),
    "BITOP": slice(1, None),
}
_COUNTED = {
    **dict.fromkeys(("EVAL", "EVAL_RO", "FCALL", "FCALL_RO"), 2),
    **dict.fromkeys(("SINTERCARD", "ZINTERCARD", "ZUNION", "ZINTER", "ZDIFF", "LMPOP", "ZMPOP"), 1),
}
"""Where the number of keys stands."""

_REFUSALS = {
    **dict.fromkeys(
        ("MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"),
        "the block sends MULTI and EXEC by itself; to watch keys use kit.client.transaction()",
    ),
    **dict.fromkeys(
        ("EVALSHA", "EVALSHA_RO"),
        "the server may have forgotten the script, in the middle of it: write EVAL and the source",
    ),
    **dict.fromkeys(
        (
            *("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE"),
            *("SUNSUBSCRIBE", "MONITOR", "SYNC", "PSYNC", "CLIENT", "HELLO", "AUTH", "SELECT"),
            *("RESET", "QUIT", "ASKING", "READONLY", "READWRITE"),
        ),
        "it changes the connection, which is shared: use a client of your own",
    ),
    **dict.fromkeys(
        ("WAIT", "WAITAOF", "SHUTDOWN", "FAILOVER"),
        "it is no operation on data: use kit.client after the block",
    ),
}


def refusal(command: str) -> str | None:
    """Why a command can't be in a transaction, and the cure; None if it can."""
    if " " in command:
        return "one argument for each word: " + ", ".join(map(repr, command.split())) + ", …"
    return _REFUSALS.get(command.upper())


def keys_of(command: Sequence[Arg]) -> tuple[Arg, ...]:
    """The keys among the arguments of a command."""
    name, *args = command
    name = str(name).upper()
    if name in _COUNTED:
        at = _COUNTED[name]
        count = _number(args[at - 1]) if len(args) >= at else 0
        return tuple(args[at : at + count])
    return tuple(args[_KEYS.get(name, slice(1))])


def _number(argument: Arg) -> int:
    try:
        return int(argument)
    except (TypeError, ValueError):
        return 0
