"""Whether an application's sessions are a kit's: it says so by ``app.session_interface``."""

from __future__ import annotations

from flask_redis_kit.core.feature import Context
from flask_redis_kit.sessions.config import SessionsConfig


def is_ours(context: Context[SessionsConfig]) -> bool:
    """Whether the application has the interface of this very kit, by now."""
    ours = getattr(context.app.session_interface, "finishes_batch_of", None)
    return ours is not None and bool(ours(context.kit_name))
