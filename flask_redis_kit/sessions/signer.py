"""Signed cookies as Flask-Session makes them, so that browsers keep the ones they have."""

from __future__ import annotations

from typing import Any

from itsdangerous import BadSignature, Signer

from flask_redis_kit.core.errors import ConfigError

_SALT = "flask-session"
_LONGEST = 1024


class IdSigner:
    """Signs session ids with ``SECRET_KEY``; accepts those signed with ``SECRET_KEY_FALLBACKS``.

    ``HMAC-SHA1`` of the id, by itsdangerous, with the salt and the key derivation of Flask-Session.
    A signature adds nothing to the safety of a random id of 256 bits: this is for moving.
    """

    def __init__(self, secret_key: str | bytes | None, fallbacks: Any = None) -> None:
        if not secret_key:
            raise ConfigError("SESSION_USE_SIGNER needs a SECRET_KEY.", key="SECRET_KEY")
        # the last one signs, all verify
        given = (*(fallbacks or ()), secret_key)
        keys = [key.encode() if isinstance(key, str) else key for key in given]
        self._signer = Signer(keys, salt=_SALT, key_derivation="hmac")

    def signed(self, sid: str) -> str:
        """The cookie for an id."""
        return self._signer.sign(sid).decode()

    def unsigned(self, cookie: str) -> str:
        """The id in a cookie; empty if nobody with one of our keys has signed it."""
        if len(cookie) > _LONGEST:
            return ""
        try:
            return self._signer.unsign(cookie).decode()
        except (BadSignature, UnicodeError):
            return ""
