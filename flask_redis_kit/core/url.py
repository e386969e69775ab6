"""Where a server is, as a URL and as an ``Endpoint``.

::

    redis[s]://[user[:password]@]host[:6379][/db]                            TCP, with s: TLS
    redis[s]+sentinel://[user[:password]@]host[:26379]{,host[:port]}[/service[/db]]
    redis[s]+cluster://[user[:password]@]host[:6379]{,host[:port]}
    unix://[user[:password]@]/path/of/the.sock                               or redis+unix://
    embedded://[/directory]                                     a server of the application's own

``valkey`` may stand for ``redis`` everywhere; case doesn't matter in a scheme. Options follow as a
query (``?socket_timeout=0.5``): see ``options.py``. User, password, service and path are
percent-decoded once; in the query a ``+`` is a plus. ``db``, ``service``, ``username`` and
``password`` in the query beat the same in the rest of the URL. How others write it is understood,
too: see ``aliases.py``.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass, field
from typing import TypeVar, cast
from urllib.parse import quote, unquote

from flask_redis_kit.core.aliases import canonical
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.masking import SCHEME, conceal
from flask_redis_kit.core.options import OPTIONS, SYNONYMS, Kind, OptionValue, read, write

T = TypeVar("T")

_EXAMPLE = "A Redis URL looks like redis://user:password@localhost:6379/0"
_SUFFIXES: dict[str, Kind] = {"": "tcp", "+unix": "unix"}
_SUFFIXES |= {"+sentinel": "sentinel", "+cluster": "cluster"}
_SCHEMES: dict[str, tuple[Kind, bool]] = {
    name + suffix: (kind, tls)
    for suffix, kind in _SUFFIXES.items()
    for name, tls in (("redis", False), ("rediss", True), ("valkey", False), ("valkeys", True))
    if not (tls and kind == "unix")  # there is no TLS over a unix socket
}
_SCHEMES |= {"unix": ("unix", False), "embedded": ("embedded", False)}
_UNFIT = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True, repr=False)
class Endpoint:
    """One server, or the daemons or nodes that lead to it; equal endpoints are the same place.

    ``hosts``: (host, port) pairs, IPv6 without brackets. ``path``: the absolute path of the unix
    socket, or the embedded server's directory (None: its usual place). ``service``: Sentinel only.
    ``options``: the typed options of the query, as (name, value) pairs sorted by name.
    """

    kind: Kind
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    service: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: tuple[tuple[str, OptionValue], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        fill = object.__setattr__
        if not self.hosts and self.kind in ("tcp", "sentinel", "cluster"):
            fill(self, "hosts", (("localhost", _default_port(self.kind)),))
        if self.kind == "sentinel":
            fill(self, "service", self.service or "mymaster")
        fill(self, "username", self.username or None)
        fill(self, "password", self.password or None)
        fill(self, "options", tuple(sorted(self.options, key=lambda pair: pair[0])))

    def __repr__(self) -> str:
        return f"<Endpoint {format_url(self, mask=True)}>"

    def option(self, name: str, default: T) -> OptionValue | T:
        """The value of the option ``name``, or ``default`` where the URL doesn't say."""
        return dict(self.options).get(name, default)

    @property
    def address(self) -> str:
        """A name for people, without secrets: ``localhost:6379/0``, ``unix:/run/x.sock``."""
        members = ",".join(named(member) for member in self.hosts)
        database = f"/{self.db}" if self.db else ""
        match self.kind:
            case "tcp":
                return f"{members}/{self.db}"
            case "sentinel":
                return f"sentinel {self.service}{database} at {members}"
            case "cluster":
                return f"cluster {members}"
            case "unix":
                return f"unix:{self.path}" + (f" db {self.db}" if self.db else "")
            case _:
                name = f"embedded:{self.path}" if self.path else "embedded"
                name += " (private)" if self.option("private", False) else ""
                return name + (f" db {self.db}" if self.db else "")


def parse(url: str) -> Endpoint:
    """The endpoint that ``url`` names. No I/O.

    Raises ``ConfigError`` naming the part or option that is wrong, with all passwords hidden;
    its ``key`` is the option's name.
    """
    try:
        return _parse(canonical(url))
    except ConfigError as error:
        message, key = str(error), error.key
    shown = conceal(url)
    if not SCHEME.match(url):
        raise ConfigError(message, key=key)
    if key is not None and key not in OPTIONS and key not in shown:
        message, key = "Unknown option.", None  # its name may be the end of a password
    raise ConfigError(f"{message} In {shown!r}.", key=key)


def format_url(endpoint: Endpoint, *, mask: bool = False) -> str:
    """The URL of ``endpoint``: ``parse`` gives the same endpoint back. ``mask`` hides passwords."""
    scheme = "redis" + ("s" if endpoint.tls else "")
    scheme += "" if endpoint.kind == "tcp" else f"+{endpoint.kind}"
    place, query = "", list(endpoint.options)
    if endpoint.kind in ("unix", "embedded"):
        scheme = endpoint.kind
        place = _quote(endpoint.path or "", safe="/")
        query += [("db", endpoint.db)] if endpoint.db else []
    else:
        place = ",".join(named(member) for member in endpoint.hosts)
        place += f"/{_quote(endpoint.service)}" if endpoint.service else ""
        place += "" if endpoint.kind == "cluster" else f"/{endpoint.db}"
    user = _quote(endpoint.username or "")
    user += f":{_quote(endpoint.password)}" if endpoint.password else ""
    url = f"{scheme}://{user}{'@' if user else ''}{place}"
    if query:
        url += "?" + "&".join(f"{name}={_quote(write(value))}" for name, value in query)
    return conceal(url, sound=True) if mask else url


def mask(url: str) -> str:
    """``url`` as it is, but for its passwords: ``redis://user:***@h/0``. Never raises.

    In a text that is no Redis URL, all that may be a part of a password is hidden.
    """
    try:
        endpoint = _parse(canonical(url))
    except ConfigError:
        return conceal(url)
    if re.match("sentinel:", url, re.IGNORECASE):
        return format_url(endpoint, mask=True)  # it may have a password in several places
    return conceal(url, sound=True)


def _parse(url: str) -> Endpoint:
    kind, tls, rest = _scheme(url)
    if "#" in rest:
        raise ConfigError("A URL of Redis has no '#': write it as %23 inside a password.")
    netloc, path, query = re.fullmatch(r"([^/?]*)([^?]*)\??(.*)", rest).groups()  # type: ignore[union-attr]
    userinfo, at, place = netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    if at and kind == "embedded":
        raise ConfigError("An embedded server has no user and no password: remove them.")
    found = _options(query, kind, tls)
    hosts: tuple[tuple[str, int], ...] = ()
    where = service = None
    db = 0
    if kind in ("unix", "embedded"):
        where = _socket_path(kind, place, path)
    else:
        hosts = _hosts(place, kind)
        service, db = _service_and_db(path, kind)
    db = cast("int", found.pop("db", db))
    if kind == "cluster" and db:
        raise ConfigError("A cluster has only database 0: remove the db.", key="db")
    return Endpoint(
        kind,
        tls,
        hosts,
        where,
        service=cast("str | None", found.pop("service", service)),
        db=db,
        username=cast("str", found.pop("username", _decode(user, "user"))),
        password=cast("str", found.pop("password", _decode(password, "password"))),
        options=tuple(found.items()),
    )


def _scheme(url: str) -> tuple[Kind, bool, str]:
    if not url.strip():
        raise ConfigError(f"The URL is empty. {_EXAMPLE}.")
    match = SCHEME.match(url)
    if match is None:
        raise ConfigError(f"The URL has no scheme. {_EXAMPLE}.")
    unfit = _UNFIT.search(url)
    if unfit is not None:
        raise ConfigError(
            f"A space or control character stands at position {unfit.start()}:"
            f" remove it, or write it as %{ord(unfit.group()) & 0xFF:02X}."
            if unfit.group() < "\x80"
            else f"A character that no URL may have stands at position {unfit.start()}."
        )
    scheme = match.group()[:-3].lower()
    if scheme in ("rediss+unix", "valkeys+unix"):
        raise ConfigError("There is no TLS over a unix socket: write unix:// instead.")
    if scheme not in _SCHEMES:
        near = difflib.get_close_matches(scheme, _SCHEMES, n=1)
        hint = f"did you mean {near[0]}://?" if near else f"known are {', '.join(_SCHEMES)}."
        raise ConfigError(f"Unknown scheme {scheme!r}: {hint} {_EXAMPLE}.")
    return *_SCHEMES[scheme], url[match.end() :]


def _options(query: str, kind: Kind, tls: bool) -> dict[str, OptionValue]:
    found: dict[str, OptionValue] = {}
    for part in filter(None, query.split("&")):
        given, _, text = part.partition("=")
        name = _decode(given, "query")
        target = SYNONYMS.get(name, name)
        value = read(name, _decode(text, "query"), kind=kind, tls=tls)
        if target in found:
            raise ConfigError(f"Option {name!r} is given more than once.", key=name)
        found[target] = value
    return found


def _socket_path(kind: Kind, place: str, path: str) -> str | None:
    what = "socket" if kind == "unix" else "directory"
    if place:
        raise ConfigError(
            f"A path has no host before it: write {kind}:///the/{what}, with three slashes."
        )
    decoded = _decode(path, "path")
    if "\0" in decoded:
        raise ConfigError("A path can't have a NUL character.")
    if kind == "unix" and path in ("", "/"):
        raise ConfigError("The path of the socket is missing: write unix:///run/redis.sock.")
    return None if path in ("", "/") else decoded


def _service_and_db(path: str, kind: Kind) -> tuple[str | None, int]:
    if kind != "sentinel":
        return None, _database(path.removeprefix("/"))
    service, _, db = path.removeprefix("/").partition("/")
    if re.fullmatch("[0-9]+", service) and path.count("/") == 1:
        raise ConfigError(
            f"A path of Sentinel begins with the service: write /mymaster/{service}"
            f" for the database, or ?service={service}.",
            key="service",
        )
    if not service and db:
        raise ConfigError("The name of the service is empty: write /mymaster/0.", key="service")
    return _decode(service, "service") or None, _database(db)


def _database(text: str) -> int:
    if not text:
        return 0
    try:
        return cast("int", OPTIONS["db"].read(text))
    except ValueError:
        raise ConfigError(
            "The database (db) after the host must be a whole number from 0, such as /0.", key="db"
        ) from None


def _hosts(place: str, kind: Kind) -> tuple[tuple[str, int], ...]:
    members = place.split(",")
    if len(members) > 1 and kind == "tcp":
        raise ConfigError("Several hosts need redis+sentinel:// or redis+cluster://.")
    if len(members) > 1 and any(member[:1] in ("", ":") for member in members):
        raise ConfigError("A host is empty: remove the comma or name the host.")
    return tuple(_member(member, _default_port(kind)) for member in members)


def _member(text: str, default_port: int) -> tuple[str, int]:
    if text.count(":") > 1 and "[" not in text:
        raise ConfigError("An IPv6 host stands in brackets: [::1]:6379.")
    match = re.fullmatch(r"(?:\[([^\[\]]*)\]|([\w.-]*))(:.*)?", text.lower())
    if match is None:
        raise ConfigError("The host is not a name or an address.")
    address, name, port = match.groups()
    if address is not None:
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            raise ConfigError("The host in brackets is not an IPv6 address.") from None
    if port is None:
        return address or name or "localhost", default_port
    if not re.fullmatch(":[0-9]{1,5}", port) or not 0 < int(port[1:]) < 65536:
        raise ConfigError("The port must be a number from 1 to 65535.")
    return address or name or "localhost", int(port[1:])


def named(address: tuple[str, int]) -> str:
    """``host:port``, with brackets around IPv6."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _default_port(kind: Kind) -> int:
    return 26379 if kind == "sentinel" else 6379


def _decode(text: str, what: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError(f"The {what} is not UTF-8 after percent-decoding.") from None


def _quote(text: str, safe: str = "") -> str:
    return quote(text, safe=safe, errors="surrogatepass")
