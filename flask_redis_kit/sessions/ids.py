"""Session ids: the secret in the cookie, and the hash by which the server knows it."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from base64 import urlsafe_b64encode

_ID = re.compile(r"[A-Za-z0-9_-]{43}")


def new_id() -> str:
    """256 random bits as 43 characters for a cookie. Never stored, never logged."""
    return secrets.token_urlsafe(32)


def is_id(text: str) -> bool:
    """Whether a cookie can be one of our ids; anything else never reaches a server."""
    return _ID.fullmatch(text) is not None


def digest_of(sid: str) -> str:
    """The SHA-256 of an id, as 43 characters: what names a session in keys, logs and signals.

    Nobody who reads the server's data, or a log, can make a cookie of it.
    """
    return urlsafe_b64encode(hashlib.sha256(sid.encode()).digest()).rstrip(b"=").decode()


def new_incarnation() -> bytes:
    """What tells one life of a session from another: when it began (us since 1970), random."""
    return f"{time.time_ns() // 1000}{secrets.token_hex(2)}".encode()
