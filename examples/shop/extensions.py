"""What all parts of the shop share: the kit, and the current application's catalogue."""

from __future__ import annotations

from flask import current_app

from examples.shop.catalogue import Catalogue
from flask_redis_kit import RedisKit

kit = RedisKit()


def catalogue() -> Catalogue:
    """The catalogue of the current application."""
    found: Catalogue = current_app.extensions["catalogue"]
    return found
