"""One process of a measured application: so many trips, then its /metrics; waits until told to end.

python -m tests.core.measured URL TRIPS [fork]      fork: in a child of the one that installs
"""

from __future__ import annotations

import os
import sys

from flask import Flask

from flask_redis_kit import RedisKit
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.metrics import install_metrics


def main(url: str, trips: str, *forked: str) -> None:
    app = Flask("measured")
    app.config.update(REDIS_URL=url, REDIS_MAX_CONNECTIONS=7)
    kit = RedisKit(app)
    app.register_blueprint(install_metrics(app).blueprint())
    wire = kit.state().wire()
    if forked and (child := os.fork()):
        os.waitpid(child, 0)
        return
    for _ in range(int(trips)):
        wire.send(Exchange("test", "", [("PING",)], first))
    print(app.test_client().get("/metrics").text, flush=True)
    print("END", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
