"""Connections that say what is wrong: the address, the reason and the cure, never a secret."""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
from typing import Any

import redis.exceptions as redis_errors
from redis.connection import SSLConnection

from flask_redis_kit.core.conversation import has_unread
from flask_redis_kit.core.errors import (
    ConnectTimeout,
    EmbeddedError,
    ReplyTimeout,
    ServerError,
    ServerRefused,
    ServerTooOld,
    ServerUnavailable,
)
from flask_redis_kit.core.names import SettingNames

OLDEST = {"redis": (7, 0), "valkey": (7, 2)}


class Diagnosis:
    """Mixed into redis-py's connections: translates connect errors and refuses old servers."""

    _sock: Any
    _parser: Any
    handshake_metadata: Any
    _poller: Any = None
    _polled: Any = None
    connects = 2
    """How often it tries when the server cuts it before the handshake is done."""
    generation = 0
    """The pool's generation that it was connected in; see ``Pool.drop``."""
    names = SettingNames()
    """What its settings are called; see ``Pool``."""

    @property
    def credentials(self) -> str:
        """Where the settings say who we are."""
        return self.names.credentials

    def is_stale(self) -> bool:
        """True if the server closed the connection, or bytes that nobody asked for wait on it."""
        sock = self._sock
        if self._polled is not sock:
            self._poller = select.poll()
            self._poller.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
            self._polled = sock
        if self._poller.poll(0):
            return True
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        if has_unread(self):
            return True
        reader = getattr(self._parser, "_reader", None)
        return bool(reader is not None and hasattr(reader, "has_data") and reader.has_data())

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Connect and shake hands; every failure is a ``ServerError`` that names the cure.

        Cut in the handshake (``CLIENT KILL``, a failover), it tries again: nothing was sent.
        """
        for left in reversed(range(self.connects)):
            if self._sock:
                return
            try:
                super().connect_check_health(*args, **kwargs)  # type: ignore[misc]
            except (ServerError, EmbeddedError):
                raise
            except (redis_errors.RedisError, OSError) as error:
                if not left or not _closed_at_once(error):
                    raise self._diagnosed(error) from error

    def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """The handshake, and the check that the server is new enough."""
        try:
            super().on_connect_check_health(*args, **kwargs)  # type: ignore[misc]
            self._refuse_old(self._server_version())
        except redis_errors.ResponseError as error:
            if "unknown command" in str(error).lower() and "HELLO" in str(error):
                raise self._too_old("a version before 6.0") from error
            raise

    def _server_version(self) -> tuple[str, str]:
        hello = self.handshake_metadata
        if not hello:
            # RESP2: redis-py sent no HELLO; without an argument it changes nothing
            self.send_command("HELLO", check_health=False)  # type: ignore[attr-defined]
            hello = self.read_response()  # type: ignore[attr-defined]
        if isinstance(hello, list):
            hello = dict(zip(hello[::2], hello[1::2], strict=False))
        facts = {_text(name): _text(value) for name, value in hello.items()}
        return facts.get("server", "redis"), facts.get("version", "")

    def _refuse_old(self, found: tuple[str, str]) -> None:
        server, version = found
        digits = re.match(r"(\d+)\.(\d+)", version)
        oldest = OLDEST.get(server)
        if digits and oldest and (int(digits[1]), int(digits[2])) < oldest:
            raise self._too_old(f"{server} {version}")

    def _too_old(self, what: str) -> ServerTooOld:
        return ServerTooOld(
            f"The server at {self.address} is {what}; flask_redis_kit needs Redis 7.0, "
            "Valkey 7.2, or newer.",
            address=self.address,
        )

    @property
    def address(self) -> str:
        """Where this connection goes, without any secret."""
        return str(self._host_error())  # type: ignore[attr-defined]

    def _diagnosed(self, error: Exception) -> ServerError:
        at = self.address
        text = str(error)
        found = self._failed_tls(error)
        if found is not None:
            return found
        if isinstance(error, redis_errors.AuthenticationError):
            return ServerRefused(
                f"The server at {at} refused the user or password ({text}). Check "
                f"{self.credentials}.",
                address=at,
            )
        if isinstance(error, redis_errors.BusyLoadingError):
            return ServerUnavailable(f"The server at {at} is loading its data.", address=at)
        if isinstance(error, redis_errors.NoPermissionError):
            return ServerRefused(
                f"The server at {at} allows this user too little: {text}", address=at
            )
        if isinstance(error, redis_errors.ResponseError):
            return self._refused_command(text)
        if isinstance(error, redis_errors.TimeoutError | TimeoutError):
            tls = ", and does it speak TLS" if isinstance(self, SSLConnection) else ""
            return ConnectTimeout(
                f"No Redis or Valkey server answers at {at} in time. Is the address right, and is "
                f"it reachable from here{tls}? {self.names.of('SOCKET_CONNECT_TIMEOUT')} sets the "
                f"wait. To try without a server, set {self.names.url}=embedded://",
                address=at,
            )
        return ServerUnavailable(self._unreachable(error), address=at)

    def _failed_tls(self, error: Exception) -> ServerError | None:
        """Why there is no TLS, if that is it, and the cure."""
        if not isinstance(self, SSLConnection):
            return None
        start, at = f"TLS to {self.address} failed: ", self.address
        for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"):
            path = getattr(self, name.removeprefix("ssl_"))
            if path and not os.access(path, os.R_OK):
                text = f"{name} is {str(path)!r}, which is not there or can't be read."
                return ServerRefused(start + text, address=at)
        cause = _ssl_error(error)
        reason = "" if cause is None else _reason_of(cause)
        alert = "ALERT" in reason and "PROTOCOL_VERSION" not in reason
        if alert or isinstance(cause, ssl.SSLEOFError) or _closed_at_once(error):
            # not every server sends its alert in time; without one it may as well be restarting
            return ServerUnavailable(start + self._broken_off(), address=at)
        return (
            None
            if cause is None
            else ServerRefused(start + _tls_cure(cause, self.names.of("OPTIONS")), address=at)
        )

    def _broken_off(self) -> str:
        certificate = getattr(self, "certfile", None)
        if certificate:
            return (
                "the server broke off. Most likely it doesn't trust the client certificate in "
                f"ssl_certfile={str(certificate)!r}, or wants other versions or ciphers of TLS; "
                "its log says which."
            )
        return (
            "the server broke off. Most likely it wants a client certificate: give ssl_certfile "
            f"and ssl_keyfile, in the URL's query or in {self.names.of('OPTIONS')}."
        )

    def _refused_command(self, text: str) -> ServerError:
        at = self.address
        if "DB index" in text or "SELECT is not allowed" in text:
            return ServerRefused(
                f"The server at {at} has no database {getattr(self, 'db', '?')} ({text}). Use a "
                f"lower number {self.names.database}; a server has 16 unless it is configured "
                "otherwise.",
                address=at,
            )
        if "NOAUTH" in text or "Authentication required" in text:
            return ServerRefused(
                f"The server at {at} wants a password. Set {self.credentials}.",
                address=at,
            )
        return ServerRefused(f"The server at {at} refused the connection: {text}", address=at)

    def _unreachable(self, error: Exception) -> str:
        at = self.address
        if isinstance(error.__context__, socket.gaierror):
            return f"The host name in {at} can't be resolved. Check {self.names.url}."
        if _closed_at_once(error):
            return (
                f"The server at {at} closed the connection at once. Does it expect TLS? Then the "
                "URL begins with rediss://"
            )
        return (
            f"No Redis or Valkey server answers at {at} ({_reason(error)}). Start one there, set "
            f"{self.names.url} to where it is, or set {self.names.url}=embedded:// to try without "
            "a server."
        )


def read_error(error: Exception, address: str, names: SettingNames) -> ServerError:
    """An error of sending or reading on a live connection, as one of ours."""
    if isinstance(error, ServerError):
        return error
    if isinstance(error, redis_errors.TimeoutError | TimeoutError):
        return ReplyTimeout(
            f"{address} did not reply in time; the command may have run. "
            f"{names.of('SOCKET_TIMEOUT')} sets the wait.",
            address=address,
        )
    if isinstance(error, redis_errors.BusyLoadingError):
        return ServerUnavailable(f"The server at {address} is loading its data.", address=address)
    broken = ServerUnavailable(f"The connection to {address} broke: {error}", address=address)
    broken.maybe_sent = True
    return broken


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _closed_at_once(error: Exception) -> bool:
    text = str(error)
    signs = ("Connection closed by server", "reset by peer", "Broken pipe")
    return any(sign in text for sign in signs)


def _reason_of(error: ssl.SSLError) -> str:
    """OpenSSL's words; an error that Python itself raises has no ``reason``."""
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return str(reason)


_CURES = (
    ("PROTOCOL_VERSION", "client and server have no version of TLS in common: ssl_min_version"),
    ("KEY_VALUES_MISMATCH", "ssl_keyfile is not the key of the certificate in ssl_certfile"),
    ("NO_CERTIFICATE_OR_CRL", "ssl_ca_certs holds no certificate in PEM form"),
    ("NO_START_LINE", "ssl_ca_certs, ssl_certfile or ssl_keyfile is not in PEM form"),
    ("PEM LIB", "ssl_certfile or ssl_keyfile is not in PEM form"),
    ("NO CIPHER", "ssl_ciphers names none that is known here"),
    ("BAD_DECRYPT", "ssl_password doesn't open ssl_keyfile"),
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS: use redis:// instead of rediss://"),
    ("RECORD_LAYER", "the server does not speak TLS: use redis:// instead of rediss://"),
)


def _tls_cure(error: ssl.SSLError, options: str) -> str:
    text = _reason_of(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        if "match" in text.lower():
            return (
                f"the certificate is for another name ({text}). Use the name in the certificate, "
                "or ssl_check_hostname=false if you know why it differs."
            )
        return (
            f"the certificate can't be trusted ({text}). Give the authority that signed it in "
            f"ssl_ca_certs, in the URL's query (?ssl_ca_certs=/path/to/ca.pem) or in {options}."
        )
    for sign, cure in _CURES:
        if sign in text.upper():
            return f"{cure} ({text})."
    return text


def _reason(error: Exception) -> str:
    cause = error.__context__ or error
    return getattr(cause, "strerror", None) or str(cause)
