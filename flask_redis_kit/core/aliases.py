"""URLs as other libraries write them, turned into ours before they are parsed.

::

    redis-sentinel://h,h2/service/db     redis-cluster://h,h2           a dash for the plus
    redis-sentinel://password@h,h2/db?sentinelMasterId=service          Lettuce, Spring
    sentinel://:password@h;sentinel://h2/db?master_name=service         Celery, Kombu
    redis://h?cluster=true                                              redis-url-py

Only the writing changes here: what stands in it is judged by ``url.py`` as always.
"""

from __future__ import annotations

import re

from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.masking import SCHEME
from flask_redis_kit.core.options import read_boolean

_FAMILIES = ("redis", "rediss", "valkey", "valkeys")
_DASHED = {
    f"{name}-{kind}": f"{name}+{kind}" for name in _FAMILIES for kind in ("sentinel", "cluster")
}
_NAMES_OF_SERVICE = ("sentinelMasterId", "master_name")


def canonical(url: str) -> str:
    """``url`` in our own writing; as it is, if it is ours or nobody's.

    Raises ``ConfigError`` where it contradicts itself.
    """
    match = SCHEME.match(url)
    if match is None:
        return url
    given = match.group()[:-3].lower()
    scheme, rest = _DASHED.get(given, given), url[match.end() :]
    if given == "sentinel":
        scheme, rest = "redis+sentinel", _one_of_many(rest)
    if scheme.endswith("+sentinel"):
        rest = _with_service(rest)
    elif scheme in _FAMILIES or scheme.endswith("+cluster"):
        scheme, rest = _with_cluster(scheme, rest)
    return url if (scheme, rest) == (given, url[match.end() :]) else f"{scheme}://{rest}"


def _split(rest: str) -> tuple[str, str, list[str]]:
    """Members, path and the parts of the query."""
    place, _, query = rest.partition("?")
    members, slash, path = place.partition("/")
    return members, slash + path, query.split("&") if query else []


def _join(members: str, path: str, query: list[str]) -> str:
    return members + path + ("?" + "&".join(query) if query else "")


def _one_of_many(rest: str) -> str:
    """``a;sentinel://b/0?x`` is ``a,b?x&db=0``."""
    parts = [_split(part) for part in re.split(";sentinel://", rest, flags=re.IGNORECASE)]
    if any(query for _, _, query in parts[:-1]):
        raise ConfigError("The options of several sentinel:// stand behind the last of them.")
    users, hosts, databases = set(), [], set()
    for members, path, _ in parts:
        user, at, host = members.rpartition("@")
        hosts.append(host)
        users |= {user} if at else set()
        databases |= {path} - {"", "/"}
    if len(users) > 1 or len(databases) > 1:
        raise ConfigError(
            "Several sentinel:// must agree on user, password and database, which are those of the "
            "data servers. The password of the Sentinels goes into ?sentinel_password="
        )
    query = parts[-1][2] + [_database(path) for path in databases]
    return _join("".join(f"{user}@" for user in users) + ",".join(hosts), "", query)


def _with_service(rest: str) -> str:
    members, path, query = _split(rest)
    names = [part.partition("=")[0] for part in query]
    if "sentinelMasterId" in names:
        # there the path is the database, and who gives one word before the @ means the password
        user, at, hosts = members.rpartition("@")
        if at and ":" not in user:
            members = f":{user}@{hosts}"
        if path not in ("", "/"):
            query, path = [*query, _database(path)], ""
    for n, name in enumerate(names):
        if name in _NAMES_OF_SERVICE:
            query[n] = "service" + query[n][len(name) :]
    return _join(members, path, query)


def _with_cluster(scheme: str, rest: str) -> tuple[str, str]:
    members, path, query = _split(rest)
    asked = [part.partition("=")[2] for part in query if part.partition("=")[0] == "cluster"]
    if not asked:
        return scheme, rest
    try:
        clustered = {read_boolean(text) for text in asked}
    except ValueError:
        raise ConfigError("Option 'cluster' must be true or false.", key="cluster") from None
    if len(asked) > 1:
        raise ConfigError("Option 'cluster' is given more than once.", key="cluster")
    if scheme in _FAMILIES:
        scheme += "+cluster" if True in clustered else ""
    elif False in clustered:
        raise ConfigError(f"{scheme}:// is a cluster: remove cluster=false.", key="cluster")
    rest = _join(members, path, [p for p in query if p.partition("=")[0] != "cluster"])
    return scheme, rest


def _database(path: str) -> str:
    if not re.fullmatch("/[0-9]+", path):
        raise ConfigError(
            "The path of such a URL is a database, such as /0; the service goes into the query.",
            key="db",
        )
    return f"db={path[1:]}"
