"""The options that a URL's query may carry: their names, types, and where they mean something."""

from __future__ import annotations

import codecs
import difflib
import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from flask_redis_kit.core.errors import ConfigError

Kind = Literal["tcp", "unix", "sentinel", "cluster", "embedded"]
OptionValue = str | int | float | bool | tuple[ssl.VerifyFlags, ...]

_SCHEMES: Mapping[Kind, str] = {
    "tcp": "redis://",
    "unix": "unix://",
    "sentinel": "redis+sentinel://",
    "cluster": "redis+cluster://",
    "embedded": "embedded://",
}
_EVERYWHERE: tuple[Kind, ...] = ("tcp", "unix", "sentinel", "cluster", "embedded")
_NETWORK: tuple[Kind, ...] = ("tcp", "sentinel", "cluster")
_TRUTH = {"1": True, "true": True, "yes": True, "on": True}
_TRUTH |= {"0": False, "false": False, "no": False, "off": False}
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Option:
    """One known option. ``read`` raises ``ValueError`` for a text that isn't a ``meaning``."""

    read: Callable[[str], OptionValue]
    meaning: str
    kinds: tuple[Kind, ...] = _EVERYWHERE
    tls: bool = False
    secret: bool = False


def read(name: str, text: str, *, kind: Kind, tls: bool) -> OptionValue:
    """The typed value of the option ``name``, for a server of this ``kind``.

    Raises ``ConfigError`` naming the option (never the value, which may be a secret) and the cure.
    """
    option = OPTIONS.get(name)
    if option is None:
        raise ConfigError(f"Unknown option {name!r}.{_nearest(name)}", key=name)
    if kind not in option.kinds:
        places = ", ".join(_SCHEMES[known] for known in option.kinds)
        raise ConfigError(
            f"Option {name!r} means nothing for {_SCHEMES[kind]}: remove it"
            f" (it belongs to {places}).",
            key=name,
        )
    if option.tls and not tls:
        raise ConfigError(
            f"Option {name!r} needs TLS: write the scheme with a second s, such as rediss://.",
            key=name,
        )
    try:
        return option.read(text)
    except ValueError:
        raise ConfigError(f"Option {name!r} must be {option.meaning}.", key=name) from None


def write(value: OptionValue) -> str:
    """The text that ``read`` turns into ``value``."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(flag.name or "" for flag in value)
    return value if isinstance(value, str) else repr(value)


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), OPTIONS, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def read_boolean(text: str) -> bool:
    """True or false; ``ValueError`` for anything else."""
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _read_text(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(text)
    return text


def _read_seconds(text: str) -> float:
    seconds = float(text) if re.fullmatch(r"[0-9.eE+-]+", text) else math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(text)
    return seconds


def _read_wait(text: str) -> float:
    return 0.0 if text in ("0", "0.0") else _read_seconds(text)


def _read_encoding(text: str) -> str:
    try:
        known = bool(re.fullmatch(r"[A-Za-z0-9_-]+", text)) and codecs.lookup(text)
    except LookupError:
        known = False
    if not known:
        raise ValueError(text)
    return text


def _read_tls_version(text: str) -> int:
    by_name = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    name = text.lower().removeprefix("tlsv").replace("_", ".")
    by_number = {str(int(version)): version for version in by_name.values()}
    try:
        return int((by_name | by_number)[name])
    except KeyError:
        raise ValueError(text) from None


def _read_verify_flags(text: str) -> tuple[ssl.VerifyFlags, ...]:
    names = text.removeprefix("[").removesuffix("]").split(",")
    try:
        return tuple(ssl.VerifyFlags[name.strip()] for name in names)
    except KeyError:
        raise ValueError(text) from None


def _whole(least: int) -> Option:
    def read_whole(text: str) -> int:
        number = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else -1
        if not least <= number <= _LARGEST:
            raise ValueError(text)
        return number

    return Option(read_whole, f"a whole number from {least} to {_LARGEST}")


def _choice(values: Mapping[str, str | int]) -> Option:
    def read_choice(text: str) -> str | int:
        try:
            return values[text.lower()]
        except KeyError:
            raise ValueError(text) from None

    return Option(read_choice, "one of " + ", ".join(values))


def _pattern(pattern: str, meaning: str) -> Option:
    def read_pattern(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(text)
        return text

    return Option(read_pattern, meaning)


_BOOLEAN = Option(read_boolean, "1 or 0, true or false, yes or no, on or off")
_TEXT = Option(_read_text, "a text that isn't empty")
_SECRET = replace(_TEXT, secret=True)
_SECONDS = Option(_read_seconds, "a number of seconds above 0")
_ROLE = _choice({"master": "master", "replica": "replica", "slave": "replica"})
_VERIFY_FLAGS = Option(_read_verify_flags, "names of ssl.VerifyFlags, separated by commas")

# what redis-py's connections take; a Sentinel daemon is asked over such a connection too
_CONNECTION: dict[str, Option] = {
    "username": _TEXT,
    "password": _SECRET,
    "client_name": _pattern(r"[!-~]+", "printable ASCII without spaces"),
    "decode_responses": _BOOLEAN,
    "encoding": Option(_read_encoding, "the name of a text encoding, such as utf-8"),
    "encoding_errors": _pattern(r"[a-z]+", "an error handler, such as strict or replace"),
    "health_check_interval": _whole(0),
    "legacy_responses": _BOOLEAN,
    "lib_name": _TEXT,
    "lib_version": _TEXT,
    "max_connections": _whole(1),
    "protocol": _choice({"2": 2, "3": 3}),
    "retry_on_timeout": _BOOLEAN,
    "socket_connect_timeout": _SECONDS,
    "socket_read_size": _whole(1),
    "socket_timeout": _SECONDS,
}
_KEEPALIVE: dict[str, Option] = {"socket_keepalive": _BOOLEAN}
_TLS: dict[str, Option] = {
    "ssl_ca_certs": _TEXT,
    "ssl_ca_data": _TEXT,
    "ssl_ca_path": _TEXT,
    "ssl_cert_reqs": _choice({word: word for word in ("none", "optional", "required")}),
    "ssl_certfile": _TEXT,
    "ssl_check_hostname": _BOOLEAN,
    "ssl_ciphers": _TEXT,
    "ssl_exclude_verify_flags": _VERIFY_FLAGS,
    "ssl_include_verify_flags": _VERIFY_FLAGS,
    "ssl_keyfile": _TEXT,
    "ssl_min_version": Option(_read_tls_version, "a version of TLS, 1.2 or 1.3"),
    "ssl_ocsp_expected_cert": _TEXT,
    "ssl_password": _SECRET,
    "ssl_validate_ocsp": _BOOLEAN,
    "ssl_validate_ocsp_stapled": _BOOLEAN,
}
_SENTINEL: dict[str, Option] = {
    "client_type": _ROLE,
    "force_master_ip": _TEXT,
    "min_other_sentinels": _whole(0),
    "role": _ROLE,
    "service": _TEXT,
}
_CLUSTER: dict[str, Option] = {
    "address_remap": _pattern(
        r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "the place of a function, such as package.module:function"
    ),
    "dynamic_startup_nodes": _BOOLEAN,
    "load_balancing": _choice(
        {word: word for word in ("round_robin", "round_robin_replicas", "random", "random_replica")}
    ),
    "reinitialize_steps": _whole(0),
    "require_full_coverage": _BOOLEAN,
}


def _table() -> dict[str, Option]:
    table = dict(_CONNECTION)
    # one's own server has no password, and is never far enough away for a keepalive
    for name in ("username", "password"):
        table[name] = replace(table[name], kinds=("tcp", "unix", "sentinel", "cluster"))
    table["db"] = _whole(0)
    table["timeout"] = Option(_read_wait, "a number of seconds from 0, to wait for a connection")
    table["private"] = replace(_BOOLEAN, kinds=("embedded",))
    for name, option in _KEEPALIVE.items():
        table[name] = replace(option, kinds=_NETWORK)
    for name, option in _TLS.items():
        table[name] = replace(option, kinds=_NETWORK, tls=True)
    for name, option in _SENTINEL.items():
        table[name] = replace(option, kinds=("sentinel",))
    for name, option in _CLUSTER.items():
        table[name] = replace(option, kinds=("cluster",))
    for name, option in {**_CONNECTION, **_KEEPALIVE, **_TLS}.items():
        table[f"sentinel_{name}"] = replace(option, kinds=("sentinel",), tls=name in _TLS)
    return table


OPTIONS: Mapping[str, Option] = _table()
SYNONYMS: Mapping[str, str] = {"client_type": "role"}
