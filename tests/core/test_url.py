"""Redis URLs: what they mean, what is refused, and that no password shows."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.options import OPTIONS, Kind, OptionValue
from flask_redis_kit.core.url import Endpoint, format_url, mask, parse

LOCAL = (("localhost", 6379),)
MEANINGS: list[tuple[str, Endpoint]] = [
    ("redis://", Endpoint("tcp", hosts=LOCAL)),
    ("redis://:6380", Endpoint("tcp", hosts=(("localhost", 6380),))),
    ("redis://h/3", Endpoint("tcp", hosts=(("h", 6379),), db=3)),
    ("REDISS://H:1/", Endpoint("tcp", tls=True, hosts=(("h", 1),))),
    ("valkey://h", Endpoint("tcp", hosts=(("h", 6379),))),
    ("valkeys://h", Endpoint("tcp", tls=True, hosts=(("h", 6379),))),
    ("redis://[::1]:7/1", Endpoint("tcp", hosts=(("::1", 7),), db=1)),
    ("redis://u:p%40%2Fq@h", Endpoint("tcp", hosts=(("h", 6379),), username="u", password="p@/q")),
    ("redis://:p@ss@h", Endpoint("tcp", hosts=(("h", 6379),), password="p@ss")),
    ("redis://:p%2540@h", Endpoint("tcp", hosts=(("h", 6379),), password="p%40")),
    ("redis://h?password=a+b", Endpoint("tcp", hosts=(("h", 6379),), password="a+b")),
    (
        "redis://x:y@h/1?db=2&username=u&password=p",
        Endpoint("tcp", hosts=(("h", 6379),), db=2, username="u", password="p"),
    ),
    ("unix:///run/x.sock", Endpoint("unix", path="/run/x.sock")),
    ("redis+unix://:p@/run/a%20b?db=4", Endpoint("unix", path="/run/a b", db=4, password="p")),
    ("redis+sentinel://a", Endpoint("sentinel", hosts=(("a", 26379),), service="mymaster")),
    (
        "rediss+sentinel://u:p@a,b:5,[::1]/main/2",
        Endpoint(
            "sentinel",
            tls=True,
            hosts=(("a", 26379), ("b", 5), ("::1", 26379)),
            service="main",
            db=2,
            username="u",
            password="p",
        ),
    ),
    (
        "redis+sentinel://a/x/1?service=y&db=0",
        Endpoint("sentinel", hosts=(("a", 26379),), service="y"),
    ),
    (
        "valkeys+cluster://a,b:7000/0",
        Endpoint("cluster", tls=True, hosts=(("a", 6379), ("b", 7000))),
    ),
    *[
        (url, Endpoint("sentinel", hosts=(("a", 26379), ("b", 5)), service="main", db=2))
        for url in (
            "redis-sentinel://a,b:5/main/2",
            "redis-sentinel://a,b:5/2?sentinelMasterId=main",
            "redis+sentinel://a,b:5?sentinelMasterId=main&db=2",
            "VALKEY-SENTINEL://a,b:5/?db=2&sentinelMasterId=main",
            "sentinel://a;sentinel://b:5/2?master_name=main",
            "sentinel://a/2;SENTINEL://b:5/2?service=main",
            "Sentinel://a,b:5/?master_name=main&db=2",
        )
    ],
    *[
        (url, Endpoint("sentinel", hosts=(("a", 26379),), password="p:%"))
        for url in (
            "redis-sentinel://:p:%25@a",
            "redis-sentinel://p%3A%25@a/0?sentinelMasterId=mymaster",
            "sentinel://:p:%25@a",
            "sentinel://:p:%25@a/?master_name=mymaster",
        )
    ],
    (
        "sentinel://u:p@a;sentinel://u:p@b;sentinel://c?sentinel_password=d",
        Endpoint(
            "sentinel",
            hosts=(("a", 26379), ("b", 26379), ("c", 26379)),
            username="u",
            password="p",
            options=(("sentinel_password", "d"),),
        ),
    ),
    ("rediss-sentinel://a", Endpoint("sentinel", tls=True, hosts=(("a", 26379),))),
    ("redis-cluster://a,b", Endpoint("cluster", hosts=(("a", 6379), ("b", 6379)))),
    ("valkeys-cluster://a/0", Endpoint("cluster", tls=True, hosts=(("a", 6379),))),
    ("redis://a,b?cluster=true", Endpoint("cluster", hosts=(("a", 6379), ("b", 6379)))),
    (
        "rediss://:p@a:1/0?protocol=3&cluster=1",
        Endpoint("cluster", tls=True, hosts=(("a", 1),), password="p", options=(("protocol", 3),)),
    ),
    ("redis://a/4?cluster=false", Endpoint("tcp", hosts=(("a", 6379),), db=4)),
    ("redis+cluster://a?cluster=yes", Endpoint("cluster", hosts=(("a", 6379),))),
    ("embedded://", Endpoint("embedded")),
    ("embedded:///srv/data", Endpoint("embedded", path="/srv/data")),
    ("Embedded://?private=yes", Endpoint("embedded", options=(("private", True),))),
]


@pytest.mark.parametrize(("url", "endpoint"), MEANINGS)
def test_a_url_means_this_endpoint(url: str, endpoint: Endpoint) -> None:
    assert parse(url) == endpoint
    assert parse(format_url(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("url", "name", "value"),
    [
        ("redis://h?decode_responses=False", "decode_responses", False),
        ("redis://h?decode_responses=on", "decode_responses", True),
        ("redis://h?socket_timeout=5", "socket_timeout", 5.0),
        ("redis://h?timeout=0", "timeout", 0.0),
        ("redis://h?protocol=3", "protocol", 3),
        ("rediss://h?ssl_min_version=TLSv1.3", "ssl_min_version", 772),
        ("rediss://h?ssl_min_version=771", "ssl_min_version", 771),
        (
            "rediss://h?ssl_include_verify_flags=[VERIFY_X509_STRICT]",
            "ssl_include_verify_flags",
            (ssl.VerifyFlags.VERIFY_X509_STRICT,),
        ),
        ("redis+sentinel://h?client_type=slave", "role", "replica"),
        ("redis+sentinel://h?sentinel_socket_timeout=0.5", "sentinel_socket_timeout", 0.5),
        ("redis+sentinel://h?sentinel_username=x", "sentinel_username", "x"),
        ("redis+cluster://h?require_full_coverage=no", "require_full_coverage", False),
    ],
)
def test_options_have_their_types(url: str, name: str, value: OptionValue) -> None:
    found = parse(url).option(name, None)
    assert found == value
    assert type(found) is type(value)


def test_an_option_that_is_not_given_is_its_default() -> None:
    assert parse("redis://h").option("protocol", 2) == 2


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://u:secret@h/2", "h:6379/2"),
        ("redis://[::1]", "[::1]:6379/0"),
        ("unix:///run/x.sock", "unix:/run/x.sock"),
        ("unix:///run/x.sock?db=2", "unix:/run/x.sock db 2"),
        ("redis+sentinel://:secret@a,b", "sentinel mymaster at a:26379,b:26379"),
        ("redis+sentinel://a/main/3", "sentinel main/3 at a:26379"),
        ("redis+cluster://a,b:7", "cluster a:6379,b:7"),
        ("embedded://", "embedded"),
        ("embedded:///srv", "embedded:/srv"),
        ("embedded://?private=1", "embedded (private)"),
    ],
)
def test_an_address_is_readable_and_without_secrets(url: str, address: str) -> None:
    assert parse(url).address == address


def test_endpoints_can_be_keys_whatever_the_order_of_their_options() -> None:
    one = parse("redis://h?socket_timeout=1&protocol=2")
    other = parse("redis://h?protocol=2&socket_timeout=1")
    assert {one: 1}[other] == 1


REFUSALS = [
    ("", "empty"),
    ("  ", "empty"),
    ("localhost:6379", "looks like redis://"),
    ("http://h", "Unknown scheme 'http': known are redis, rediss"),
    ("redis+sentinal://h", "redis+sentinel"),
    ("rediss+unix:///x", "no TLS over a unix socket"),
    ("redis://h:0", "port"),
    ("redis://h:65536", "port"),
    ("redis://h:", "port"),
    ("redis://h:٣", "port"),
    ("redis://::1", "IPv6"),
    ("redis://[zz]", "IPv6"),
    ("redis://h/1/2", "db"),
    ("redis://h/abc", "db"),
    ("redis://h/-1", "db"),
    ("redis://h/0/", "db"),
    ("redis://h?db=-1", "db"),
    ("redis://h?db=x", "db"),
    ("redis+cluster://h/1", "db"),
    ("redis+cluster://h?db=1", "db"),
    ("redis://a,b", "redis+sentinel://"),
    ("redis+sentinel://a,,b", "host is empty"),
    ("redis+sentinel://a,", "host is empty"),
    ("redis+sentinel://a/0", "/mymaster/0"),
    ("redis+sentinel://a//0", "service is empty"),
    ("unix://", "missing"),
    ("unix:///", "missing"),
    ("unix://run/x.sock", "three slashes"),
    ("unix:///run/%00", "NUL"),
    ("embedded://data", "three slashes"),
    ("embedded://:x@/data", "no password"),
    ("redis://h ", "space or control"),
    ("redis://h\r\n", "space or control"),
    ("redis://h\0", "space or control"),
    ("redis://h\ud800", "no URL may have"),
    ("redis://:%ff@h", "UTF-8"),
    ("redis://h#x", "%23"),
    ("redis://h?sokcet_timeout=1", "'socket_timeout'"),
    ("redis://h?cluster=perhaps", "'cluster' must be true or false"),
    ("redis://h?cluster=", "'cluster' must be true or false"),
    ("redis://h?cluster=true&cluster=true", "'cluster' is given more than once"),
    ("redis+cluster://h?cluster=false", "remove cluster=false"),
    ("redis+sentinel://h?cluster=true", "Unknown option 'cluster'"),
    ("unix:///x?cluster=true", "Unknown option 'cluster'"),
    ("redis://h/1?cluster=true", "only database 0"),
    ("redis://h?sentinelMasterId=m", "Unknown option 'sentinelMasterId'"),
    ("redis-cluster://h?master_name=m", "Unknown option 'master_name'"),
    ("redis-sentinel://h/main?sentinelMasterId=main", "is a database"),
    ("redis-sentinel://h/0?sentinelMasterId=a&service=b", "more than once"),
    ("redis-sentinel://h/0?sentinelMasterId=a&db=0", "more than once"),
    ("redis-sentinel://h/0", "/mymaster/0"),
    ("redis-sentinel://h?sentinelMasterId=", "'service' must be"),
    ("redis-sentinal://h", "Unknown scheme 'redis-sentinal'"),
    ("redis-unix:///x", "Unknown scheme 'redis-unix'"),
    ("sentinel://a?master_name=m;sentinel://b", "behind the last"),
    ("sentinel://:a@h;sentinel://:b@h2", "must agree on user, password and database"),
    ("sentinel://h/1;sentinel://h2/2", "must agree on user, password and database"),
    ("sentinel://h/main", "is a database"),
    ("sentinel://h;h2", "host is not a name"),
    ("sentinel://h;sentinel://", "host is empty"),
    ("sentinel://h/0?db=0", "more than once"),
    ("redis://h?socket_timeout=abc", "'socket_timeout' must be a number of seconds"),
    ("redis://h?socket_timeout=nan", "socket_timeout"),
    ("redis://h?socket_timeout=0", "socket_timeout"),
    ("redis://h?socket_timeout", "socket_timeout"),
    ("redis://h?protocol=4", "one of 2, 3"),
    ("redis://h?decode_responses=maybe", "true or false"),
    ("redis://h?max_connections=0", "max_connections"),
    ("redis://h?encoding=no-such", "encoding"),
    ("redis://h?client_name=a%20b", "client_name"),
    ("redis://h?password=", "password"),
    ("redis://h?protocol=2&protocol=2", "more than once"),
    ("redis+sentinel://h?role=master&client_type=master", "more than once"),
    ("redis://h?ssl_ca_certs=/x", "rediss://"),
    ("unix:///x?ssl_ca_certs=/x", "'ssl_ca_certs' means nothing for unix://"),
    ("redis://h?sentinel_password=x", "belongs to redis+sentinel://"),
    ("redis+sentinel://h?sentinel_ssl_ca_certs=/x", "rediss://"),
    ("redis://h?service=x", "'service'"),
    ("redis://h?load_balancing=random", "redis+cluster://"),
    ("redis://h?private=1", "embedded://"),
    ("embedded://?password=x", "'password'"),
]


@pytest.mark.parametrize(("url", "named"), REFUSALS)
def test_a_wrong_url_is_refused_and_what_is_wrong_is_named(url: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert named in str(caught.value)


def test_a_refused_option_is_the_key_of_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("redis://h?socket_timeout=x")
    assert caught.value.key == "socket_timeout"


text = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("@:/?#%,;&=+ []"), min_size=1
)
sockets = st.lists(text.map(lambda part: part.replace("\0", "0")), min_size=1).map(
    lambda parts: "/" + "/".join(parts)
)
ports = st.integers(1, 65535)
members = st.tuples(
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
    | st.ip_addresses(v=6).map(str)
    | st.ip_addresses(v=4).map(str),
    ports,
)


def _is_read(name: str, sample: str) -> bool:
    try:
        OPTIONS[name].read(sample)
    except ValueError:
        return False
    return True


def _values(name: str) -> list[OptionValue]:
    words = ["1", "0", "0.25", "1e-7", "2", "replica", "random", "none", "1.3", "utf-8", "strict"]
    words += ["a.b:c", "VERIFY_X509_STRICT,VERIFY_CRL_CHECK_LEAF", "a&b=c@d/#%+é?"]
    return [OPTIONS[name].read(word) for word in words if _is_read(name, word)]


FIELDS = {"db", "service", "username", "password", "client_type"}


@st.composite
def endpoints(draw: st.DrawFn) -> Endpoint:
    kind: Kind = draw(st.sampled_from(("tcp", "unix", "sentinel", "cluster", "embedded")))
    network = kind not in ("unix", "embedded")
    tls = network and draw(st.booleans())
    names = sorted(
        name
        for name, option in OPTIONS.items()
        if kind in option.kinds and (tls or not option.tls) and name not in FIELDS
    )
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=6))
    path: str | None = None
    if not network:
        path = draw(sockets.filter(lambda path: path != "/"))
        path = None if kind == "embedded" and draw(st.booleans()) else path
    most = {"tcp": 1, "unix": 0, "embedded": 0}.get(kind, 4)
    credentials = st.none() if kind == "embedded" else st.none() | text
    return Endpoint(
        kind,
        tls,
        tuple(draw(st.lists(members, min_size=min(1, most), max_size=most))),
        path,
        service=draw(text) if kind == "sentinel" else None,
        db=0 if kind == "cluster" else draw(st.integers(0, 20)),
        username=draw(credentials),
        password=draw(credentials),
        options=tuple((name, draw(st.sampled_from(_values(name)))) for name in chosen),
    )


@settings(deadline=None, max_examples=300)
@given(endpoints())
def test_what_is_formatted_parses_to_the_same_endpoint(endpoint: Endpoint) -> None:
    assert parse(format_url(endpoint)) == endpoint


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_option_has_values_that_survive_formatting(name: str) -> None:
    kind = OPTIONS[name].kinds[0]
    scheme = {"tcp": "rediss", "unix": "unix", "embedded": "embedded"}.get(kind, f"rediss+{kind}")
    values = _values(name)
    assert values
    for value in values:
        if name in FIELDS or kind == "unix":
            continue
        endpoint = Endpoint(kind, tls=scheme.startswith("rediss"), options=((name, value),))
        found: Any = parse(format_url(endpoint)).option(name, None)
        assert (found, type(found)) == (value, type(value))


SECRET = "hunter2"
dirty = st.lists(
    st.sampled_from([SECRET, "@", ":", "/", "?", "#", "&", "=", ";", ",", "%", " ", "[", "é", "x"]),
    min_size=1,
    max_size=8,
).map(lambda parts: SECRET + "".join(parts) + SECRET)
PLACES = [
    "redis://user:{}@h:1/0",
    "redis://:{}@h",
    "rediss+sentinel://user:{}@h:1,h2:2/svc/0?socket_timeout=1",
    "redis+cluster://:{}@h,h2",
    "redis-sentinel://user:{}@h,h2/0?sentinelMasterId=main",
    "redis-sentinel://user:{}@h,h2/main?sentinelMasterId=main",
    "sentinel://:{0}@h;sentinel://:{0}@h2/0?master_name=main",
    "sentinel://h;sentinel://u:{}@h2/main",
    "redis://:{}@h,h2?cluster=true",
    "redis://:{}@h/1?cluster=perhaps",
    "redis://user:{}@h/not-a-db",
    "redis://user:{}@h:port",
    "http://user:{}@h",
    "redis://user:{}@h?sokcet_timeout=1",
    "redis://h?password={}",
    "redis://h?db=x&password={}&protocol=2",
    "redis+sentinel://h?sentinel_password={}",
    "rediss://h?ssl_password={}&nonsense=1",
    "redis://h?PASSWORD={}",
    "redis://h?%70assw%6frd={}",
    "redis://h?nonsense=1&%70assw%6frd={}",
    "redis://h?db=1;password={}",
    "redis:/user:{}@h",
    "user:{}@h:6379",
    ":{}@h",
    "redis://user:{}",
    "redis://:{}",
]


@settings(deadline=None, max_examples=1000)
@given(st.sampled_from(PLACES), dirty)
@example("redis://user:{}@h:1/0", "hunter2/@?hunter2")
@example("redis://h?password={}", "hunter2@hunter2")
@example("redis://h?password={}", "hunter2&hunter2=1")
@example("redis://h?password={}", "hunter2;hunter2#hunter2")
def test_no_part_of_a_password_shows_however_badly_it_is_written(place: str, secret: str) -> None:
    # without an @ after it, an @ inside the password can't be told from the end of it
    url = place.format(secret if "@h" in place or "?" in place else secret.replace("@", ""))
    shown = [mask(url)]
    try:
        endpoint = parse(url)
        shown += [repr(endpoint), format_url(endpoint, mask=True)]
    except ConfigError as error:
        shown += [str(error), str(error.key), repr(error.__cause__)]
    assert SECRET not in "".join(shown)


PIECES = ["sentinel://", "redis-sentinel://", "redis-cluster://", "redis://", "a", ";", "/0"]
PIECES += ["?", "&", ",", "@", "u:p", "db=0"]
PIECES += ["sentinelMasterId=m", "master_name=m", "cluster=1"]


@settings(deadline=None, max_examples=500)
@given(
    st.text()
    | st.text("redis:/@?#&=;,[]%+unix ").map(lambda rest: f"redis://{rest}")
    | st.lists(st.sampled_from(PIECES)).map("".join)
)
def test_any_text_can_be_masked_and_is_parsed_or_refused(garbage: str) -> None:
    assert isinstance(mask(garbage), str)
    try:
        endpoint = parse(garbage)
    except ConfigError:
        return
    assert parse(format_url(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://user:pw@h/0", "redis://user:***@h/0"),
        ("redis://:pw@h:1/0?socket_timeout=1", "redis://:***@h:1/0?socket_timeout=1"),
        ("redis://pw@h/0", "redis://***@h/0"),
        ("redis://h/0", "redis://h/0"),
        (
            "redis-sentinel://pw@h/0?sentinelMasterId=m",
            "redis-sentinel://***@h/0?sentinelMasterId=m",
        ),
        (
            "sentinel://:pw@a;sentinel://:pw@b/1?master_name=m",
            "redis+sentinel://:***@a:26379,b:26379/m/1",
        ),
        ("sentinel://:pw@a;sentinel://:wp@b", "sentinel://:***@b"),
        ("redis://:pw@h?cluster=true", "redis://:***@h?cluster=true"),
        ("redis://h?client_name=a@b", "redis://h?client_name=a@b"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
        ("redis://h?password=a&protocol=2", "redis://h?password=***&protocol=2"),
        ("redis://h?sokcet_timeout=1", "redis://h?sokcet_timeout=1"),
        ("localhost:6379", "localhost:6379"),
        ("redis+sentinel://u:a@h/hunter2@h2", "redis+sentinel://u:***@h2"),
        ("redis+sentinel://u:1/hunter2@h2", "redis+sentinel://u:***@h2"),
        ("abc", "abc"),
        ("user:pw@h", "***"),
    ],
)
def test_masking_leaves_everything_else_readable(url: str, masked: str) -> None:
    assert mask(url) == masked


def test_the_repr_of_an_endpoint_shows_where_it_is_but_no_secret() -> None:
    endpoint = parse("rediss://me:hunter2@h/1?ssl_password=hunter2")
    assert repr(endpoint) == "<Endpoint rediss://me:***@h:6379/1?ssl_password=***>"
