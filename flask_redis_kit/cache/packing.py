"""Results to payloads: what can't be stored is returned to the caller all the same."""

from __future__ import annotations

from collections.abc import Sequence

from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.payload import Payload, packed
from flask_redis_kit.cache.serializer import Serializer, encoded
from flask_redis_kit.cache.signals import report
from flask_redis_kit.cache.tags import MAX_TAGS
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.feature import Context

TOO_MANY_TAGS = (
    "%s: a result is not cached, as it has %d tags with those of the values it is made of: a value "
    f"may have {MAX_TAGS}. Give those values one tag in common instead of one each."
)


class Packing:
    """Makes payloads of the results of one application."""

    def __init__(self, context: Context[CacheConfig], notices: Notices) -> None:
        self.context = context
        self._notices = notices

    def packed(
        self,
        value: object,
        about: str,
        codec: Serializer | None = None,
        flags: int = 0,
        *,
        subject: str | None = None,
        tags: Sequence[bytes] = (),
    ) -> Payload | None:
        """The payload of a value; None, warned of once and counted, if it can't be stored.

        ``about`` names the function in the warning; it is counted under ``subject``. ``tags`` are
        the user's.
        """
        if len(tags) > MAX_TAGS:
            self._notices.once(("tags", about), TOO_MANY_TAGS, about, len(tags))
            report(self, subject or about, "refused", "tags")
            return None
        limit = self.context.config.max_bytes
        try:
            data = encoded(value, self.context.codec if codec is None else codec)
        except CodecError as error:
            self._notices.once(("codec", about), "%s: its result is not cached. %s", about, error)
            report(self, subject or about, "refused", "encoding")
            return None
        if len(data) > limit:
            self._notices.once(
                ("size", about),
                "%s: a result of %d bytes is not cached: REDIS_CACHE_MAX_BYTES is %d.",
                about,
                len(data),
                limit,
            )
            report(self, subject or about, "refused", "size")
            return None
        return packed(data, flags)
