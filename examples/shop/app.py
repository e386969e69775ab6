"""The application factory."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, current_app, render_template
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from examples.shop.account import account
from examples.shop.catalogue import Catalogue
from examples.shop.extensions import kit
from examples.shop.generator import GENRES
from examples.shop.pages import ACCOUNT, pages
from examples.shop.report import report
from examples.shop.timing import ServerTiming
from flask_redis_kit import RedisSessionInterface, ServerError

INSTANCE = Path(__file__).parent / "instance"


def create_app(instance: str | Path = INSTANCE, **settings: object) -> Flask:
    """The shop. ``instance`` is where its data lies; ``settings`` beat the defaults below."""
    app = Flask(__name__, instance_path=str(Path(instance).absolute()))
    app.config.update(
        REDIS_URL=os.environ.get("REDIS_URL", "embedded://"),
        REDIS_NAMESPACE="shop",
        REDIS_EVENTS_HEARTBEAT=3,  # s; after that a closed tab's thread is free again
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.config.update(settings)
    kit.init_app(app)
    app.session_interface = RedisSessionInterface(kit)
    app.extensions["catalogue"] = Catalogue(Path(app.instance_path) / "shop.sqlite")
    for blueprint in (pages, account, report, kit.health_blueprint()):
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, _failed)
    app.register_error_handler(ServerError, _unavailable)
    app.jinja_env.globals.update(genres=GENRES, account=ACCOUNT)
    app.wsgi_app = ServerTiming(app.wsgi_app)  # type: ignore[method-assign]  # Flask's own way
    return app


def _failed(error: HTTPException) -> tuple[str, int, dict[str, str]]:
    """An error as a page, with the headers it brings (``Retry-After``, ``Allow``)."""
    headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
    return render_template("error.html", error=error), error.code or 500, headers


def _unavailable(error: ServerError) -> tuple[str, int, dict[str, str]]:
    """Redis is away. The page names no server, the log does."""
    current_app.logger.error("%s", error)
    return _failed(ServiceUnavailable(retry_after=2))
