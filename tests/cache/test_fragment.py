"""``{% cache %}``: parts of templates."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from flask import Flask, render_template, render_template_string, session
from jinja2 import DictLoader, TemplateSyntaxError
from markupsafe import Markup

from flask_redis_kit import ConfigError, RedisKit
from tests.cache.conftest import MakeKit
from tests.harness.proxy import Proxy
from tests.waiting import wait_until

Render = Callable[..., str]


class Counter:
    """Counts how often a template asks it."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        return self.count


@pytest.fixture
def n() -> Counter:
    return Counter()


@pytest.fixture
def render(app: Flask, n: Counter) -> Render:
    def render(source: str, **values: object) -> str:
        with app.test_request_context():
            return render_template_string(source, n=n, **values)

    return render


def test_a_fragment_is_rendered_once(render: Render, n: Counter) -> None:
    source = '{{ n() }} {% cache 300, "menu" %}[{{ n() }}]{% endcache %}'
    assert [render(source) for _ in range(3)] == ["1 [2]", "3 [2]", "4 [2]"]


def test_it_varies_by_what_is_said_after_its_name(render: Render) -> None:
    source = '{% cache 300, "menu", a, b %}{{ n() }}{% endcache %}'
    variants: list[tuple[object, object]] = [
        ("a_b", "c"),
        ("a", "b_c"),
        (1, "c"),
        (True, "c"),
        ("1", "c"),
        (1.0, "c"),
        (None, "c"),
        (("a", "b"), "c"),
        (["a", "b"], "c"),
        ("c", "a_b"),
    ]
    first = [render(source, a=a, b=b) for a, b in variants]
    assert len(set(first)) == len(variants)
    assert [render(source, a=a, b=b) for a, b in variants] == first


def test_names_versions_and_counts_of_values_do_not_collide(render: Render) -> None:
    sources = [
        '{% cache 300, "menu" %}{{ n() }}{% endcache %}',
        '{% cache 300, "menu", "a" %}{{ n() }}{% endcache %}',
        '{% cache 300, "menua" %}{{ n() }}{% endcache %}',
        '{% cache 300, "menu", ("a",) %}{{ n() }}{% endcache %}',
        '{% cache 300, "menu" %}new: {{ n() }}{% endcache %}',
        '{% cache 300, "menu" %}{{ n() }}{# a comment is nothing new #}{% endcache %}',
    ]
    rendered = [render(source) for source in sources]
    assert rendered == ["1", "2", "3", "4", "new: 5", "1"]


def test_what_has_no_identity_is_named(render: Render) -> None:
    with pytest.raises(TypeError, match="The fragment 'menu': what vary 2 gives contains a "):
        render('{% cache 300, "menu", 1, n %}x{% endcache %}')


def test_text_is_escaped_once_and_markup_stays_markup(render: Render, app: Flask) -> None:
    source = '{% cache 300, "x" %}<b>{{ text }}</b>{% endcache %}'
    for _ in range(2):
        assert render(source, text="<i>") == "<b>&lt;i&gt;</b>"
        assert render(source, text="ignored") == "<b>&lt;i&gt;</b>"
    plain = "{% autoescape false %}" + source + "{% endautoescape %}"
    for _ in range(2):
        assert render(plain, text="<u>") == "<b><u></b>", "another fragment than the escaped one"
    captured = '{% set x %}{% cache 300, "y" %}<{{ n() }}>{% endcache %}{% endset %}{{ x }}'
    assert [render(captured) for _ in range(2)] == ["<1>", "<1>"]


def test_tags_and_the_name_invalidate_it(kit: RedisKit, render: Render) -> None:
    source = (
        '{% cache 300, "row", id, tags=["rows", "row:" ~ id], grace=0 %}{{ n() }}{% endcache %}'
    )

    def rows() -> list[str]:
        return [render(source, id=each) for each in (1, 2)]

    assert rows() == ["1", "2"]
    kit.cache.invalidate_tags("row:1")
    assert rows() == ["3", "2"]
    kit.cache.invalidate_tags("rows")
    assert rows() == ["4", "5"]
    kit.cache.invalidate_fragment("row", 2)
    assert rows() == ["4", "6"]
    kit.cache.invalidate_fragment("row")
    assert rows() == ["7", "8"]
    kit.cache.invalidate_fragment("other")
    assert rows() == ["7", "8"]
    kit.cache.clear()
    assert rows() == ["9", "10"]
    with pytest.raises(TypeError, match="string"):
        kit.cache.invalidate_fragment(1)  # type: ignore[arg-type]


def test_its_time_to_live(render: Render, redis_client: redis.Redis) -> None:
    render('{% cache 100, "x", grace=50 %}x{% endcache %}')
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    assert 130_000 < redis_client.pttl(key) <= 150_000
    render('{% cache none, "y" %}x{% endcache %}')
    others = [each for each in redis_client.scan_iter("frk:*:cache:v:*") if each != key]
    assert 280_000 < redis_client.pttl(others[0]) <= 300_000, "REDIS_CACHE_DEFAULT_TTL"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('{% cache "menu" %}x{% endcache %}', "needs a time to live and a name"),
        ("{% cache %}x{% endcache %}", "needs a time to live and a name"),
        ("{% cache 300, name %}x{% endcache %}", "must be a string, written out"),
        ('{% cache 300, "" %}x{% endcache %}', "must be a string, written out"),
        ('{% cache 0, "x" %}x{% endcache %}', "ttl=0 is no time a value can live"),
        ('{% cache "5 min", "x" %}x{% endcache %}', "ttl must be seconds"),
        ('{% cache 300, "x", tag=["a"] %}x{% endcache %}', "no option 'tag'"),
        ('{% cache 300, "x", tags=["a"], y %}x{% endcache %}', "comes before its options"),
        ('{% cache 300 "x" %}x{% endcache %}', "expected token ','"),
        ('{% cache 300, "x" %}x', "looking for the following tags: 'endcache'"),
    ],
)
def test_a_mistake_is_told_with_the_template(source: str, message: str, render: Render) -> None:
    with pytest.raises(TemplateSyntaxError, match=message):
        render(source)


def test_a_mistake_that_shows_only_when_it_is_rendered(render: Render) -> None:
    with pytest.raises(ConfigError, match="ttl=-1"):
        render('{% cache ttl, "x" %}x{% endcache %}', ttl=-1)
    with pytest.raises(TypeError, match="tags must be several strings"):
        render('{% cache 300, "x", tags="a" %}x{% endcache %}')


def test_a_fragment_in_another_one_passes_its_tags_on(kit: RedisKit, render: Render) -> None:
    source = (
        '{% cache 300, "outer", tags=["outer"] %}{{ n() }}'
        '{% cache 300, "inner", tags=["inner"] %}({{ n() }}){% endcache %}{% endcache %}'
    )
    assert [render(source) for _ in range(2)] == ["1(2)", "1(2)"]
    kit.cache.invalidate_tags("outer")
    assert render(source) == "3(2)", "the inner one was found"
    kit.cache.invalidate_tags("inner")
    assert render(source) == "4(5)", "also where it was found rather than rendered"


def test_what_it_calls_passes_its_tags_on(kit: RedisKit, render: Render, n: Counter) -> None:
    @kit.cache.cache_result(tags=["numbers"])
    def number() -> int:
        kit.cache.tag("dynamic")
        return n()

    kit.cache.set("by hand", 7, tags=["by hand"])
    source = '{% cache 300, "x" %}{{ number() }} {{ get("by hand") }} {{ n() }}{% endcache %}'

    def page() -> str:
        return render(source, number=number, get=kit.cache.get)

    assert page() == page() == "1 7 2"
    for tag in ("numbers", "dynamic", "by hand"):
        before = page()
        kit.cache.invalidate_tags(tag)
        assert page() != before, tag
        kit.cache.set("by hand", 7, tags=["by hand"])


def test_more_tags_than_a_value_may_have(
    kit: RedisKit, render: Render, caplog: pytest.LogCaptureFixture
) -> None:
    source = (
        '{% cache 300, "x" %}{% for i in range(33) %}{{ tag("t" ~ i) or "" }}{% endfor %}'
        "{{ n() }}{% endcache %}"
    )
    assert [render(source, tag=kit.cache.tag) for _ in range(2)] == ["1", "2"]
    assert "The fragment 'x': a result is not cached, as it has 33 tags" in caplog.text


def refusals(kit: RedisKit) -> dict[tuple[str, str], int]:
    counts = kit.state().contexts["cache"].counters.read()
    return {name: count for name, count in counts.items() if name[1].startswith("refused")}


def test_what_reads_the_session_is_refused_with_one_warning(
    kit: RedisKit, app: Flask, n: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/<path:source>")
    def page(source: str) -> str:
        return render_template_string(source, n=n)

    client = app.test_client()
    read = '{% cache 300, "menu" %}{{ session.get("name") }}{{ n() }}{% endcache %}'
    assert [client.get("/" + read).text for _ in range(3)] == ["None1", "None2", "None3"]
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "The fragment 'menu' is not cached, as it reads the session" in warnings[0]
    assert refusals(kit) == {("fragment:menu", "refused:session"): 3}


def test_a_value_of_the_session_may_be_what_it_varies_by(app: Flask, n: Counter) -> None:
    @app.get("/<name>")
    def page(name: str) -> str:
        session["name"] = name
        return render_template_string(
            '{% cache 300, "menu", session.name %}{{ session.name }}{{ n() }}{% endcache %}', n=n
        )

    client = app.test_client()
    assert [client.get(f"/{each}").text for each in "abab"] == ["a1", "b2", "a1", "b2"]


def test_what_it_varies_by_must_have_been_read_before(app: Flask, n: Counter) -> None:
    @app.get("/")
    def page() -> str:
        return render_template_string(
            '{% cache 300, "menu", "x" %}{{ session.get("name") }}{{ n() }}{% endcache %}', n=n
        )

    client = app.test_client()
    assert [client.get("/").text for _ in range(2)] == ["None1", "None2"]


def test_it_may_be_said_to_be_everybodys(app: Flask, n: Counter) -> None:
    @app.get("/")
    def page() -> str:
        return render_template_string(
            '{% cache 300, "x", public=true %}{{ session.get("name") }}{{ n() }}{% endcache %}', n=n
        )

    assert [app.test_client().get("/").text for _ in range(2)] == ["None1", "None1"]


def test_a_session_read_elsewhere_does_not_matter(app: Flask, n: Counter) -> None:
    @app.get("/")
    def page() -> str:
        return render_template_string(
            '{{ session.get("name") }}{% cache 300, "x" %}{{ n() }}{% endcache %}', n=n
        )

    assert [app.test_client().get("/").text for _ in range(2)] == ["None1", "None1"]


def test_without_a_server_the_page_is_rendered(render: Render, proxy: Proxy) -> None:
    proxy.refuse()
    source = '{% cache 300, "x" %}{{ n() }}{% endcache %}'
    assert [render(source) for _ in range(3)] == ["1", "2", "3"]


def test_an_error_in_it_is_the_pages(render: Render) -> None:
    source = '{% cache 300, "x", grace=100 %}{{ 1 // zero }}{% endcache %}'
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            render(source, zero=0)
    assert render(source, zero=1) == "1"


def test_an_error_is_covered_by_the_old_text_in_its_grace_period(
    kit: RedisKit, render: Render, caplog: pytest.LogCaptureFixture
) -> None:
    source = '{% cache 300, "x", grace=100, tags=["t"] %}{{ 6 // zero }}{% endcache %}'
    assert render(source, zero=2) == "3"
    kit.cache.invalidate_tags("t", soft=True)
    assert render(source, zero=0) == "3"
    assert "The fragment 'x' has failed; its old value is served" in caplog.text


def test_of_many_one_renders(app: Flask, kit: RedisKit) -> None:
    began, go_on = threading.Event(), threading.Event()
    rendered: list[int] = []

    def slow() -> str:
        rendered.append(1)
        began.set()
        assert go_on.wait(60)
        return "x"

    def page(_: int) -> str:
        with app.test_request_context():
            return render_template_string(
                '{% cache 300, "x" %}{{ slow() }}{% endcache %}', slow=slow
            )

    with ThreadPoolExecutor(6) as pool:
        pages = pool.map(page, range(6))
        assert began.wait(60)
        go_on.set()
        assert list(pages) == ["x"] * 6
    assert len(rendered) == 1


def test_one_trip_for_a_hit_and_three_for_a_miss(
    warmed: RedisKit, render: Render, proxy: Proxy
) -> None:
    source = '{% cache 300, "x", 1, tags=["a"] %}{{ n() }}{% endcache %}'
    for trips in (3, 1, 1):
        with proxy.counting() as count:
            render(source)
        assert count.trips == trips


def test_its_outcomes_are_counted_by_its_name(kit: RedisKit, render: Render) -> None:
    for variant in (1, 1, 2):
        render('{% cache 300, "menu", v %}{{ n() }}{% endcache %}', v=variant)
    counts = kit.state().contexts["cache"].counters.read()
    assert counts["fragment:menu", "hit"] == 1
    assert counts["fragment:menu", "miss"] == 2
    assert counts["fragment:menu", "stored"] == 2


def test_asynchronous_templates(app: Flask, n: Counter, kit: RedisKit) -> None:
    env = app.jinja_env.overlay(enable_async=True)

    async def value() -> int:
        await asyncio.sleep(0)
        return n()

    template = env.from_string(
        '{% cache 300, "x", tags=["t"] %}<{{ value() }}>'
        '{% cache 300, "y", tags=["u"] %}[{{ value() }}]{% endcache %}{% endcache %}'
    )

    async def pages() -> list[str]:
        return list(await asyncio.gather(*(template.render_async(value=value) for _ in range(3))))

    assert asyncio.run(pages()) == ["<1>[2]"] * 3
    kit.cache.invalidate_tags("t")
    assert asyncio.run(pages()) == ["<3>[2]"] * 3
    kit.cache.invalidate_tags("u")
    assert asyncio.run(pages()) == ["<4>[5]"] * 3


def test_switched_off_it_renders_each_time(make_kit: MakeKit, proxy: Proxy, n: Counter) -> None:
    app = make_kit(proxy.url, REDIS_CACHE_ENABLED=False).state().app
    with app.test_request_context(), proxy.counting() as count:
        source = '{% cache 300, "x" %}<{{ n() }}>{% endcache %}'
        assert [render_template_string(source, n=n) for _ in range(2)] == ["<1>", "<2>"]
    assert count.trips == 0


def test_the_jinja_environment_is_made_when_it_is_needed_and_keeps_its_options(
    proxy: Proxy,
) -> None:
    app = Flask("late")
    app.config["REDIS_URL"] = proxy.url
    app.jinja_options = {"extensions": ["jinja2.ext.loopcontrols"], "trim_blocks": True}
    kit = RedisKit(app, features=("cache",))
    assert "jinja_env" not in vars(app)
    assert app.jinja_env.trim_blocks is True
    assert {"jinja2.ext.LoopControlExtension", "flask_redis_kit.cache.fragment.Fragments"} <= set(
        app.jinja_env.extensions
    )
    with app.app_context():
        kit.close()


def test_an_environment_that_is_made_already_gets_the_tag(proxy: Proxy) -> None:
    app = Flask("early")
    app.config["REDIS_URL"] = proxy.url
    app.jinja_env.loader = DictLoader({"page": '{% cache 300, "x" %}{{ n }}{% endcache %}'})
    kit = RedisKit(app, features=("cache",))
    with app.app_context():
        assert [render_template("page", n=n) for n in (1, 2)] == ["1", "1"]
        kit.close()


def test_two_applications_and_no_current_one(make_kit: MakeKit, proxy: Proxy) -> None:
    kit = RedisKit(features=("cache",))
    apps = [Flask("one"), Flask("other")]
    for app in apps:
        app.config["REDIS_URL"] = proxy.url
        kit.init_app(app)
    source = '{% cache 300, "x" %}{{ n }}{% endcache %}'
    rendered: list[Any] = [
        app.jinja_env.from_string(source).render(n=n) for n, app in enumerate((*apps, *apps))
    ]
    assert rendered == ["0", "1", "0", "1"]
    for app in apps:
        with app.app_context():
            kit.close()


def test_of_two_kits_the_first_ones_cache_is_used(make_kit: MakeKit, proxy: Proxy) -> None:
    app = make_kit(proxy.url).state().app
    second = RedisKit(app, features=("cache",), name="second", namespace="second")
    with app.app_context():
        assert render_template_string('{% cache 300, "x" %}1{% endcache %}') == "1"
        second.cache.clear()
        assert render_template_string('{% cache 300, "x" %}1{% endcache %}') == "1"
        counts = app.extensions["redis_kit"]["default"].contexts["cache"].counters.read()
        assert counts["fragment:x", "hit"] == 1
        second.close()


def test_it_is_served_while_it_is_renewed(kit: RedisKit, render: Render, app: Flask) -> None:
    source = '{% cache 300, "x", grace=100, tags=["t"] %}{{ value() }}{% endcache %}'
    began, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        began.set()
        assert go_on.wait(60)
        return "new"

    assert render(source, value=lambda: "old") == "old"
    kit.cache.invalidate_tags("t", soft=True)
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(render, source, value=slow)
        assert began.wait(60)
        assert render(source, value=slow) == "old"
        go_on.set()
        assert renewing.result(60) == "new"
    wait_until(lambda: render(source, value=slow) == "new", 5, "the new text")


def test_the_value_in_the_cache_is_markup(
    render: Render, kit: RedisKit, redis_client: redis.Redis
) -> None:
    render('{% cache 300, "x" %}<b>{% endcache %}')
    [key] = redis_client.scan_iter("frk:*:cache:v:*")
    stored: Any = redis_client.get(key)
    assert kit.codec.decode(stored[stored.index(b"\x01\xc7") :]) == Markup("<b>")
