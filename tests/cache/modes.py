"""The modes of the race: how is read and invalidated, with which settings, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from tests.cache import harms
from tests.cache.referee import Meddle


@dataclass(frozen=True)
class Mode:
    """``race_options`` are arguments of ``race``.

    ``caught``      mutations that the long race in this mode finds (tests/chaos sees to it).
    ``standalone``  why it makes sense on one server only.
    """

    race_options: dict[str, Any] = field(default_factory=dict)
    harm: Callable[[redis.Redis], Meddle] | None = None
    caught: tuple[str, ...] = ()
    standalone: str = ""


_CALLS = ("function", "route")
_BY_HAND = ("hand", "many by hand", "computed by hand")
_ALL_WAYS = ("function", "route", "hand")

MODES: dict[str, Mode] = {
    "plain": Mode(
        {"ways": _ALL_WAYS},
        caught=(
            "epoch read after the computation",
            "tags unread",
            "glance: tags unread",
            "every bump at one moment",
        ),
    ),
    "by hand": Mode({"ways": _BY_HAND}, caught=("set forgets the miss",)),
    "dynamic tags": Mode({"ways": ("dynamic tags",)}, caught=("tags of the result unread",)),
    "made of another": Mode(
        {"ways": ("made of another", "function")}, caught=("tags of the result unread",)
    ),
    "in the grace period": Mode({"ways": ("in grace",)}, caught=("tags unread",)),
    "delete": Mode(
        {"ways": ("hand", "computed by hand"), "invalidators": ("delete",)},
        caught=("delete only unlinks",),
    ),
    "clear": Mode({"ways": _ALL_WAYS, "invalidators": ("clear",)}, caught=("clear keeps the log",)),
    "one call": Mode({"invalidators": ("call", "prefix")}, caught=("delete only unlinks",)),
    "softly, where there is no grace": Mode(
        {"ways": _ALL_WAYS, "invalidators": ("soft", "tags")}, caught=("soft moments unread",)
    ),
    "a route by what it is": Mode(
        {"ways": ("route",), "invalidators": ("arguments", "url", "endpoint")},
        caught=("tags unread",),
    ),
    "transactions": Mode(
        {"ways": _ALL_WAYS, "invalidators": ("tags", "transaction")},
        standalone="on a Cluster, the logs lie in several slots",
    ),
    "a log of ten": Mode(
        {"ways": _ALL_WAYS, "config": {"REDIS_CACHE_LOG_LIMIT": 10}},
        caught=(
            "records forgotten without a floor",
            "floor unread",
            "glance: floor unread",
        ),
    ),
    "a lease shorter than the computation": Mode(
        {"ways": _CALLS, "slowest": 0.02, "config": {"REDIS_CACHE_LEASE_SECONDS": 0.002}},
        caught=("epoch read after the computation",),
    ),
    "nobody waits": Mode(
        {
            "ways": _CALLS,
            "config": {"REDIS_CACHE_LEASE_SECONDS": 0.001, "REDIS_CACHE_WAIT_SECONDS": 0},
        },
        caught=("epoch read after the computation",),
    ),
    "the log is lost": Mode(
        {"ways": _ALL_WAYS, "every": 0.05},
        harms.losing_logs,
        caught=("every log has the same nonce", "nonce unread", "glance: nonce unread"),
    ),
    "values and leases are lost": Mode({"ways": _ALL_WAYS}, harms.losing_values_and_leases),
    "scripts are lost": Mode({"ways": _ALL_WAYS}, harms.losing_scripts),
    "keys are evicted": Mode(
        {"ways": _ALL_WAYS}, harms.filling, caught=("epoch read after the computation",)
    ),
    "memory is full": Mode({"ways": _ALL_WAYS}, harms.flooding),
    "a failover loses writes": Mode(
        {
            "ways": _CALLS,
            "slowest": 0.02,
            "every": 0.2,
            "reads": 600,
            # who held a lease that comes back may be gone: it must end before long
            "config": {"REDIS_CACHE_LEASE_SECONDS": 0.3},
        },
        harms.setting_back,
        caught=("lease token unchecked",),
        standalone="it sets back one server",
    ),
}


MODE_PARAMETERS = [
    pytest.param(
        mode,
        id=name,
        marks=[pytest.mark.standalone(reason=mode.standalone)] if mode.standalone else [],
    )
    for name, mode in MODES.items()
]
