"""How long the kit waits in the tests: a busy machine is no fault of a server's.

Applications wait half a second for a reply by default. Under a load that lets a server or a proxy
stand still for longer, whatever a test proves would fail; so the defaults are longer here, in every
process that imports anything of ``tests``. A test of waiting in vain says itself how long.
"""

from __future__ import annotations

import inspect

from flask_redis_kit.core import cluster, following
from flask_redis_kit.core.config import CoreConfig

PATIENT = {"socket_timeout": 10.0, "socket_connect_timeout": 10.0, "pool_timeout": 10.0}
"""Seconds, by the fields of ``CoreConfig``."""
LONGER = 10
"""How many times as long Sentinels, and nodes of a Cluster, are waited for that may not answer."""


def be_patient() -> None:
    """Change the defaults of this process, once."""
    parameters = list(inspect.signature(CoreConfig.__init__).parameters)
    defaults = list(CoreConfig.__init__.__defaults__ or ())
    first = len(parameters) - len(defaults)
    for name, seconds in PATIENT.items():
        defaults[parameters.index(name) - first] = seconds
        CoreConfig.__dataclass_fields__[name].default = seconds
    CoreConfig.__init__.__defaults__ = tuple(defaults)
    cluster.SEARCH_SECONDS *= LONGER
    search_for(cluster.SEARCH_SECONDS)
    following.SENTINEL_SECONDS *= LONGER


def search_for(seconds: float) -> None:
    """How long the nodes of a Cluster are asked for their slots."""
    cluster.ClusterNodes.refresh.__kwdefaults__ = {
        **(cluster.ClusterNodes.refresh.__kwdefaults__ or {}),
        "seconds": seconds,
    }
