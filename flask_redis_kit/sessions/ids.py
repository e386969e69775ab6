"""Session ids: the secret in the cookie, and the hash by which the server knows it."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from binascii import b2a_base64
from typing import Final

MOST_BYTES: Final = 64
"""The longest id that can be set, in random bytes."""
_RANDOM = 8
_DIGEST = 43
_URLSAFE = bytes.maketrans(b"+/", b"-_")
# every length that can be set, so that changing it logs nobody out
_ID = re.compile(r"[A-Za-z0-9_-]{22,86}")


def new_id(length: int = 32) -> str:
    """``length`` random bytes as text for a cookie, 32 as 43 characters. Never stored or logged."""
    return secrets.token_urlsafe(length)


def is_id(text: str) -> bool:
    """Whether a cookie can be one of our ids; anything else never reaches a server."""
    return _ID.fullmatch(text) is not None


def digest_of(text: str) -> str:
    """The SHA-256 of an id, as 43 characters: what names a session in keys, logs and signals.

    Nobody who reads the server's data, or a log, can make a cookie of it.
    """
    digest = hashlib.sha256(text.encode()).digest()
    return b2a_base64(digest)[:_DIGEST].translate(_URLSAFE).decode()


def new_incarnation() -> bytes:
    """What tells one life of a session from another: when it began (us since 1970), random."""
    return f"{time.time_ns() // 1000}{secrets.token_hex(_RANDOM // 2)}".encode()


def began(incarnation: bytes) -> float | None:
    """When an incarnation began, in seconds since 1970; None for what is none of ours."""
    digits = incarnation[:-_RANDOM]
    return int(digits) / 1e6 if digits.isdigit() else None
