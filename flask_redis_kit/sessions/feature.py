from __future__ import annotations

from typing import Any, ClassVar

from flask_redis_kit.core.feature import Context, Feature
from flask_redis_kit.core.config import FeatureConfig


class SessionsFeature(Feature[FeatureConfig, Any]):
    name: ClassVar[str] = "sessions"

    def build(self, context: Context[FeatureConfig]) -> Any:
        raise NotImplementedError


def RedisSessionInterface(*a: Any, **k: Any) -> Any: ...


class RateLimitExceeded(Exception): ...
