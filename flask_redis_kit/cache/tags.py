"""Tags: what values are invalidated by, and the names they have in the log.

Each member of the log starts with its kind: ``t`` a user's tag, ``f`` a function, ``p`` a prefix,
``k`` one key, ``c`` the calls of a view with certain arguments, ``a`` the requests at an endpoint
with certain arguments, or ``u`` a URL. The three members that hold the log's own state start with
``!``.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal

from flask_redis_kit.core.errors import ConfigError

MAX_TAGS = 32
MAX_BYTES = 40
OWN = b"k:"
"""How the tag of a value's own key starts. No value has that of another one's."""
Kind = Literal["t", "f", "p", "k", "c", "a", "u"]
TagsOf = Callable[[Any], str | Iterable[str]]
"""Tags of a value, made from it: one, or several."""
_CURE = 'write tags=["products"]'


def member(kind: Kind, name: str) -> bytes:
    """The log's member for a name; one of more than 40 bytes is hashed.

    To 72 bits, as every value has them with it: two names of one hash would only be invalidated
    together.
    """
    raw = name.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_BYTES:
        return kind.encode() + b":" + raw
    digest = blake2b(raw, digest_size=9, person=b"frk-tag").digest()
    return kind.encode() + b"#" + base64.urlsafe_b64encode(digest).rstrip(b"=")


def own_tag(digest: str) -> bytes:
    """The tag of the one value with this digest."""
    return OWN + digest.encode()


def checked_tags(tags: object, cure: str) -> tuple[str, ...]:
    """The tags without repetitions; ``TypeError`` or ``ConfigError`` for what can't be tags."""
    if isinstance(tags, str | bytes) or not isinstance(tags, Iterable):
        raise TypeError(f"tags must be several strings, not {tags!r}: {cure}.")
    names = tuple(dict.fromkeys(_checked_tag(tag, cure) for tag in tags))
    if len(names) > MAX_TAGS:
        raise ConfigError(f"{len(names)} tags are too many: a value may have {MAX_TAGS}.")
    return names


def checked_tags_or_callables(tags: object) -> tuple[str | TagsOf, ...]:
    """The tags of a decorator: strings, and functions of the result."""
    if callable(tags):
        return (tags,)
    if isinstance(tags, str | bytes) or not isinstance(tags, Iterable):
        raise TypeError(f"tags must be several strings, not {tags!r}: {_CURE}.")
    given = tuple(tags)
    checked_tags([tag for tag in given if not callable(tag)], _CURE)
    return tuple(dict.fromkeys(given))


def several_tags(tags: Sequence[object], method: str = "invalidate_tags") -> tuple[str, ...]:
    """The arguments of ``invalidate_tags``: any number of tags, each checked."""
    cure = f'write {method}("a", "b")'
    each = (checked_tags(tags[n : n + 1], cure) for n in range(len(tags)))
    return tuple(dict.fromkeys(name for names in each for name in names))


def _checked_tag(tag: object, cure: str) -> str:
    if not isinstance(tag, str):
        raise TypeError(f"A tag must be a string, not {tag!r}: {cure}.")
    if not tag:
        raise ConfigError("A tag can't be empty.")
    return tag


class TagTemplates:
    """The tags of a decorator: ``"product:{product_id}"`` is filled in from the arguments.

    Functions among them make tags of the result. ``parameters`` are the names there are; None where
    the function takes any.
    """

    __slots__ = ("_fixed", "_of_result", "_templates", "names")

    def __init__(self, tags: Iterable[str | TagsOf], parameters: frozenset[str] | None) -> None:
        fixed: list[bytes] = []
        given = tuple(tags)
        self._of_result = tuple(tag for tag in given if not isinstance(tag, str))
        self._templates: list[tuple[str, frozenset[str]]] = []
        for tag in checked_tags([tag for tag in given if isinstance(tag, str)], _CURE):
            names = _placeholders(tag)
            for name in sorted(names):
                if parameters is not None and name not in parameters:
                    raise ConfigError(
                        f"The tag {tag!r} names {{{name}}}, which is no parameter of the function: "
                        f"it has {', '.join(sorted(parameters)) or 'none'}."
                    )
            if names:
                self._templates.append((tag, names))
            else:
                fixed.append(member("t", tag.format()))
        self._fixed = tuple(fixed)
        self.names = frozenset().union(*(names for _, names in self._templates))
        """The parameters that the templates are filled in from."""

    def render(self, arguments: Mapping[str, object]) -> tuple[bytes, ...]:
        """The members of the log for one call. ``TypeError`` if an argument is missing."""
        if not self._templates:
            return self._fixed
        rendered: list[bytes] = []
        for template, names in self._templates:
            for name in names:
                if name not in arguments:
                    raise TypeError(f"The tag {template!r} needs an argument named {name!r}.")
                if _has_no_text(arguments[name]):
                    raise TypeError(
                        f"The tag {template!r}: the argument {name!r} is a "
                        f"{type(arguments[name]).__qualname__}, which has no text of its own. Give "
                        "its class a method __str__, or add the tag in the function: "
                        "kit.cache.tag(…)."
                    )
            # no attributes, indices or formats: _placeholders has refused them
            rendered.append(member("t", template.format_map(arguments)))
        return (*self._fixed, *rendered)

    def of_result(self, result: object) -> tuple[bytes, ...]:
        """The members of the log that the functions make of a result.

        Raises what they raise, and ``TypeError`` or ``ConfigError`` for what can't be tags.
        """
        if not self._of_result:
            return ()
        members: list[bytes] = []
        for make in self._of_result:
            made = make(result)
            names = (made,) if isinstance(made, str) else made
            cure = "a function in tags= returns one, or several"
            members += (member("t", name) for name in checked_tags(names, cure))
        return tuple(members)


def _has_no_text(value: object) -> bool:
    """Whether its text would be an address."""
    kind = type(value)
    return kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__


def _placeholders(tag: str) -> frozenset[str]:
    try:
        parts = list(string.Formatter().parse(tag))
    except ValueError as error:
        raise ConfigError(
            f"The tag {tag!r} can't be read: {error}. Double a literal brace."
        ) from None
    names: set[str] = set()
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ConfigError(
                f"The tag {tag!r} may hold names of parameters only, like {{product_id}}."
            )
        names.add(name)
    return frozenset(names)
