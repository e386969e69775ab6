"""The parameters of a function, and which of a call's arguments belongs to which of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any

from flask_redis_kit.core.errors import ConfigError

_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Binding:
    """The parameters of one function. ``ignored`` are those that tell no calls apart."""

    __slots__ = ("_places", "_signature", "_simple", "defaults", "flexible", "ignored", "names")

    def __init__(self, function: Callable[..., Any], ignored: Sequence[str], about: str) -> None:
        try:
            self._signature = inspect.signature(function)
        except ValueError as error:
            raise TypeError(f"{about} has no signature: wrap it in a function.") from error
        parameters = self._signature.parameters.values()
        self.names = tuple(self._signature.parameters)
        self.ignored = frozenset(ignored)
        unknown = [name for name in ignored if name not in self.names]
        if unknown:
            raise ConfigError(
                f"ignore={tuple(ignored)!r}: {about} has no parameter {unknown[0]!r}; "
                f"it has {', '.join(self.names) or 'none'}."
            )
        self.defaults = {
            each.name: each.default for each in parameters if each.default is not Parameter.empty
        }
        variable = (each.name for each in parameters if each.kind is Parameter.VAR_KEYWORD)
        self.flexible = next(variable, None)
        """The name of ``**kwargs``, if there is one."""
        self._simple = all(each.kind in _NAMED for each in parameters)
        self._places = sum(each.kind in _BY_POSITION for each in parameters)

    @property
    def receiver(self) -> str | None:
        """The first parameter, which a method gets its object by."""
        return self.names[0] if self._places else None

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by parameter, defaults included. ``TypeError`` as the call would raise."""
        given = len(args)
        if self._simple and given <= self._places:  # ten times as fast as Signature.bind
            arguments = dict(zip(self.names, args, strict=False))
            taken = 0
            for name in self.names[given:]:
                if name in kwargs:
                    arguments[name] = kwargs[name]
                    taken += 1
                elif name in self.defaults:
                    arguments[name] = self.defaults[name]
            if taken == len(kwargs) and len(arguments) == len(self.names):
                return arguments
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def told(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Bound arguments without those that are ignored."""
        if not self.ignored:
            return arguments
        return {name: each for name, each in arguments.items() if name not in self.ignored}

    def filled(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments for a template: those of ``**kwargs`` by their own names, too."""
        if self.flexible is None:
            return arguments
        return {**arguments, **arguments.get(self.flexible, {})}
