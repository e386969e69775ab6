"""``{% cache %}``: parts of a template that are rendered once for all who see the same.

::

    {% cache 300, "menu", current_user.role, tags=["pages"] %}
      …
    {% endcache %}

A fragment is known by its name, by what it varies by (as arguments of a cached function are), and
by the text between the tags, so that a new version of a template doesn't find what an old one has
left. What the text includes is not looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from jinja2 import Undefined, nodes, pass_eval_context
from jinja2.ext import Extension
from jinja2.nodes import EvalContext
from jinja2.parser import Parser

from flask_redis_kit.cache.computation import Computation
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flight import Call
from flask_redis_kit.cache.flow import run, run_async
from flask_redis_kit.cache.identity import Namer
from flask_redis_kit.cache.payload import Payload
from flask_redis_kit.cache.serializer import decoder
from flask_redis_kit.cache.signals import report
from flask_redis_kit.cache.tags import member
from flask_redis_kit.cache.telling import tells_users_apart
from flask_redis_kit.cache.ttl import milliseconds
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.session_watch import SessionWatch, current_session, session_accessed

if TYPE_CHECKING:
    from flask import Flask

EXTENSION = "redis_kit.fragments"
"""Where an application has the kit's feature whose cache its fragments are in."""
_OPTIONS = ("tags", "grace", "public")
_USAGE = '{% cache 300, "name", what it varies by …, tags=["…"] %}'
_SESSION = (
    "%s is not cached, as it reads the session (or, after others did, g, current_user or another "
    "template) and so may be one user's. Say after its name whose it is: "
    '{%% cache 300, "menu", session.get("user_id") %%}, or current_user.get_id(); if it is the '
    "same for everyone, say public=true."
)
_USERS = frozenset({"session", "current_user"})
"""Names in templates: what is said of these says who the user is."""
_OF_USERS = frozenset({"g", "current_user"})
"""Where applications keep what they have read from the session before the template runs."""
_ELSEWHERE = (nodes.Include, nodes.Block, nodes.Import, nodes.FromImport)
"""What stands in other templates."""


class Feature(Protocol):
    """The part of ``kit.cache`` that fragments use."""

    def engine_of(self, app: Flask) -> CacheEngine: ...


def install(app: Flask, feature: Feature) -> None:
    """Give an application's templates the tag. Makes no Jinja environment before its time.

    Of several kits the first one's cache is used.
    """
    if EXTENSION in app.extensions:
        return
    app.extensions[EXTENSION] = feature
    if "jinja_env" in vars(app):
        app.jinja_env.add_extension(Fragments)
        return
    known = app.jinja_options.get("extensions", ())
    app.jinja_options = {**app.jinja_options, "extensions": [*known, Fragments]}


def subject_of(name: str) -> str:
    """What a fragment is counted under."""
    return f"fragment:{name}"


def tag_of(name: str, vary: Sequence[object] | None = None) -> bytes:
    """The member of the log that all values of a fragment hang on; or those of one variant."""
    if vary is None:
        return member("f", subject_of(name))
    return member("c", Namer("variant", name).digest(_told(vary), _about(name)).text)


def _told(vary: Sequence[object]) -> dict[str, object]:
    return {f"vary {n}": value for n, value in enumerate(vary, 1)}


def _check_defined(vary: Sequence[object], name: str) -> None:
    for n, value in enumerate(vary, 1):
        if isinstance(value, Undefined):
            raise TypeError(
                f"{_about(name)}: what vary {n} gives is undefined. If it is no misspelt name, say "
                'what holds where there is none: session.get("user_id"), or x|default(none).'
            )


def _may_show_users(body: Sequence[nodes.Node]) -> bool:
    """Whether a text may show who the user is without reading the session itself."""
    if not _OF_USERS.isdisjoint(_names_in(body)):
        return True
    found = (each for part in body for each in (part, *part.find_all(_ELSEWHERE)))
    return any(isinstance(each, _ELSEWHERE) for each in found)


def _names_in(parts: Sequence[nodes.Node]) -> set[str]:
    names = {each.name for part in parts for each in part.find_all(nodes.Name)}
    return names | {part.name for part in parts if isinstance(part, nodes.Name)}


def _about(name: str) -> str:
    return f"The fragment {name!r}"


class Fragments(Extension):
    """The tag ``{% cache %}``."""

    tags = {"cache"}  # noqa: RUF012  # as Jinja has declared it

    def parse(self, parser: Parser) -> nodes.Node:
        """From ``cache`` to ``endcache``."""
        line = next(parser.stream).lineno
        positional, named = self._arguments(parser, line)
        ttl, name, *vary = positional
        body = parser.parse_statements(("name:endcache",), drop_needle=True)
        version = blake2b(repr(body).encode(), digest_size=16).hexdigest()
        options = [named.get(option, nodes.Const(None)) for option in _OPTIONS]
        shows = _may_show_users(body)
        says = not _USERS.isdisjoint(_names_in(vary))
        facts = [nodes.Const(fact) for fact in (version, shows, says)]
        arguments = [ttl, name, nodes.Tuple(vary, "load"), *options, *facts]
        call = self.call_method("render", arguments, lineno=line)
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _arguments(
        self, parser: Parser, line: int
    ) -> tuple[list[nodes.Expr], dict[str, nodes.Expr]]:
        stream = parser.stream
        positional: list[nodes.Expr] = []
        named: dict[str, nodes.Expr] = {}
        while stream.current.type != "block_end":
            if positional or named:
                stream.expect("comma")
            if stream.current.type == "name" and stream.look().type == "assign":
                option = next(stream).value
                next(stream)
                if option not in _OPTIONS:
                    parser.fail(f"cache has no option {option!r}: {', '.join(_OPTIONS)}.", line)
                named[option] = parser.parse_expression()
            elif named:
                parser.fail(f"What a fragment varies by comes before its options: {_USAGE}", line)
            else:
                positional.append(parser.parse_expression())
        self._check(parser, positional, line)
        return positional, named

    def _check(self, parser: Parser, positional: list[nodes.Expr], line: int) -> None:
        if len(positional) < 2:
            parser.fail(f"A fragment needs a time to live and a name: {_USAGE}", line)
        ttl, name = positional[:2]
        if not isinstance(name, nodes.Const) or not isinstance(name.value, str) or not name.value:
            parser.fail(
                "The name of a fragment must be a string, written out; what it depends on comes "
                f"after it: {_USAGE}",
                line,
            )
        if isinstance(ttl, nodes.Const) and ttl.value is not None:
            try:
                milliseconds(ttl.value)
            except (TypeError, ConfigError) as error:
                parser.fail(str(error), line)

    @pass_eval_context
    def render(
        self,
        context: EvalContext,
        ttl: object,
        name: str,
        vary: tuple[object, ...],
        tags: object,
        grace: object,
        public: object,
        version: str,
        shows_user: bool,
        says_who: bool,
        caller: Callable[[], Any],
    ) -> Any:
        """The text, from the cache or from the template; in asynchronous templates awaitable."""
        _check_defined(vary, name)
        app: Flask = self.environment.app  # type: ignore[attr-defined]  # Flask's environment
        engine: CacheEngine = app.extensions[EXTENSION].engine_of(app)
        if not engine.enabled:
            return caller()
        if not isinstance(public, bool | None):
            raise TypeError(f"{_about(name)}: public must be true or false, not {public!r}.")
        user = _User(vary, shows=shows_user, is_said=says_who or bool(public))
        fragment = _Fragment(engine, name, user)
        terms = engine.values.terms(ttl, tags or (), grace or 0)
        told = {"version": version, "autoescape": context.autoescape, **_told(vary)}
        digest = Namer("fragment", name).digest(told, _about(name))
        own = (tag_of(name), tag_of(name, vary), member("k", digest.text))
        work = Computation(
            engine,
            Call(digest, (*terms.tags, *own), subject_of(name)),
            _about(name),
            terms.lifetime,
            decoder(engine.context.codec),
            fragment.pack,
        )
        flow = work.flow(engine.flights)
        if self.environment.is_async:
            return run_async(flow, engine.context.send, lambda: fragment.watched_async(caller))
        return run(flow, engine.context.send, lambda: fragment.watched(caller))


class _User:
    """Whose fragment it may be, as far as is known before it is rendered.

    ``shows``   it names what may be the user's.
    ``is_said`` its author has said who it is for.
    """

    def __init__(self, vary: Sequence[object], *, shows: bool, is_said: bool) -> None:
        accessed = session_accessed()
        # what it varies by may say who it is for only if somebody has read that by now
        self.is_told = is_said or (accessed and _stands_in(current_session(), vary))
        self.is_shown = shows and accessed


def _stands_in(session: Any, vary: Sequence[object]) -> bool:
    return bool(session) and tells_users_apart(vary, session) is True


class _Fragment:
    """One fragment while it is rendered: whether it reads the session."""

    def __init__(self, engine: CacheEngine, name: str, user: _User) -> None:
        self._engine = engine
        self._name = name
        self._user = user
        self._personal = False

    def watched(self, caller: Callable[[], Any]) -> Any:
        """The text, rendered."""
        watch = SessionWatch()
        try:
            return caller()
        finally:
            self._personal = watch.end()

    async def watched_async(self, caller: Callable[[], Any]) -> Any:
        """The text, rendered by an asynchronous template."""
        watch = SessionWatch()
        try:
            return await caller()
        finally:
            self._personal = watch.end()

    def pack(self, text: object, tags: tuple[bytes, ...]) -> Payload | None:
        """What is stored of the text; None if it may be one user's."""
        about, subject = _about(self._name), subject_of(self._name)
        if (self._personal or self._user.is_shown) and not self._user.is_told:
            self._engine.notices.once(("session", about), _SESSION, about)
            report(self._engine, subject, "refused", "session")
            return None
        return self._engine.packing.packed(text, about, subject=subject, tags=tags)
