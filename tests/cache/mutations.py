"""Defects to build into the kit on purpose: each mode of the race must find some of them.

A mutation changes the text of a Lua script or replaces a function. One that has nothing to change
any more fails, so it can't rot unnoticed.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from flask_redis_kit.cache import envelope, invalidation, log, misses, reading, verdict
from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.script import Script

LUA: dict[str, tuple[str, str, str]] = {
    # the moment of the value becomes that of its store, not that of the miss
    "epoch read after the computation": (
        "lua/commit.lua",
        "  if seq > tonumber(state[2]) or",
        "  seq = tonumber(state[2])\n"
        "  redis.call('SETRANGE', staged, 19, struct.pack('>I6', seq))\n"
        "  if seq > tonumber(state[2]) or",
    ),
    "records forgotten without a floor": (
        "lua/bump.lua",
        "  redis.call('ZADD', log, -floor, '!f')",
        "",
    ),
    "lease token unchecked": (
        "lua/commit.lua",
        "if not mine and not (holder == false and ARGV[3] ~= 'held') then",
        "if false then",
    ),
    "commit without the log": (
        "lua/commit.lua",
        "if bumped and tonumber(bumped) > seq then",
        "if false then",
    ),
    "a later moment accepted by the commit": (
        "lua/commit.lua",
        "if seq > tonumber(state[2]) or",
        "if",
    ),
    "every bump at one moment": (
        "lua/bump.lua",
        "redis.call('ZINCRBY', log, 1, '!s')",
        "redis.call('ZINCRBY', log, 0, '!s')",
    ),
}


REWRITTEN: dict[str, tuple[Any, str, str, str]] = {
    # what sees at a glance that a value is valid
    "glance: tags unread": (verdict, "_is_current", "float(score) <= seq for", "True for"),
    "glance: nonce unread": (verdict, "_is_current", "nonce != -float(now) or", ""),
    "glance: floor unread": (verdict, "_is_current", "-float(floor) <= seq <=", "seq <="),
    "one round to all shards": (
        invalidation.Invalidation,
        "send",
        "if len(exchanges) > 1 and",
        "if False and",
    ),
    "soft moments unread": (verdict, "_is_current", "-float(soft) > seq", "False"),
}


def mutate(names: Iterable[str]) -> None:
    """Build these defects into this process."""
    for name in names:
        if name in LUA:
            _change_script(*LUA[name])
        elif name in REWRITTEN:
            _rewrite(*REWRITTEN[name])
        else:
            PYTHON[name]()


def _rewrite(owner: Any, name: str, old: str, new: str) -> None:
    """Compile a function anew, with some other text in it."""
    function = getattr(owner, name)
    text = textwrap.dedent(inspect.getsource(function))
    assert old in text, f"{owner}.{name} has no {old!r} any more"
    space: dict[str, Any] = {}
    code = compile("from __future__ import annotations\n" + text.replace(old, new), name, "exec")
    exec(code, function.__globals__, space)  # noqa: S102  # our own text
    setattr(owner, name, space[name])


def _change_script(filename: str, old: str, new: str) -> None:
    original: Callable[[Script], bytes] = Script.source.fget  # type: ignore[attr-defined]

    def source(script: Script) -> bytes:
        text = original(script).decode()
        if script.filename != filename:
            return text.encode()
        assert old in text, f"{filename} has no {old!r} any more"
        return text.replace(old, new).encode()

    Script.source = property(source)  # type: ignore[assignment]


def _replace(owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    setattr(owner, name, value)


def _tags_unread() -> None:
    def valid(self: envelope.Envelope, now: envelope.Epoch, scores: object) -> bool:
        return self.nonce == now.nonce and now.floor <= self.seq <= now.seq

    _replace(envelope.Envelope, "valid", valid)


def _floor_unread() -> None:
    original = envelope.Envelope.valid

    def valid(self: envelope.Envelope, now: envelope.Epoch, scores: Any) -> bool:
        return original(self, now._replace(floor=0.0), scores)

    _replace(envelope.Envelope, "valid", valid)


def _nonce_unread() -> None:
    original = envelope.Envelope.valid

    def valid(self: envelope.Envelope, now: envelope.Epoch, scores: Any) -> bool:
        return original(self, now._replace(nonce=self.nonce), scores)

    _replace(envelope.Envelope, "valid", valid)


def _later_accepted() -> None:
    original = envelope.Envelope.valid

    def valid(self: envelope.Envelope, now: envelope.Epoch, scores: Any) -> bool:
        return original(self, now._replace(seq=max(now.seq, self.seq)), scores)

    _replace(envelope.Envelope, "valid", valid)


def _delete_only_unlinks() -> None:
    def forgetting(self: object, place: Any, tags: object) -> Exchange[bool]:
        return Exchange("cache", place.log, [("UNLINK", place.value)], lambda each: bool(each[0]))

    _replace(invalidation.Invalidation, "forgetting", forgetting)


def _first_shard_only() -> None:
    original: Any = invalidation.Invalidation.bumps

    def bumps(*args: Any, **options: Any) -> Any:
        return original(*args, **options)[:1]

    _replace(invalidation.Invalidation, "bumps", bumps)


def _clear_moves_on() -> None:
    _replace(log, "drop_command", lambda key: log.bump_command(key, 100_000, ()))


def _result_tags_unread() -> None:
    """What was not asked for is taken as never invalidated."""
    _replace(verdict, "_known", lambda *_: True)
    _replace(verdict, "_is_soft", lambda *_: False)
    original: Any = envelope.Envelope.valid

    def valid(self: envelope.Envelope, now: envelope.Epoch, scores: Any) -> bool:
        return bool(original(self, now, {**dict.fromkeys(self.tags), **scores}))

    _replace(envelope.Envelope, "valid", valid)
    _replace(reading.Readings, "learn", lambda *_, **__: None)


PYTHON: dict[str, Callable[[], None]] = {
    "tags unread": _tags_unread,
    "floor unread": _floor_unread,
    "nonce unread": _nonce_unread,
    "a later moment accepted by the reader": _later_accepted,
    "every log has the same nonce": lambda: _replace(log, "new_nonce", lambda: 1),
    "set forgets the miss": lambda: _replace(misses.MissMemory, "take", lambda *_: None),
    "delete only unlinks": _delete_only_unlinks,
    "the first shard only": _first_shard_only,
    "clear keeps the log": _clear_moves_on,
    "tags of the result unread": _result_tags_unread,
}

NAMES = frozenset([*LUA, *REWRITTEN, *PYTHON])
