"""One hook for forked children: whoever holds locks or threads renews them there."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something that must forget its parent's locks and threads in a forked child."""

    def after_fork(self) -> None:
        """Called in the child before any other code of ours."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_in_child(owner: Renewable) -> None:
    """Call ``owner.after_fork()`` in every forked child, as long as ``owner`` lives."""
    _renewables.add(owner)


def _in_child() -> None:
    for owner in list(_renewables):
        owner.after_fork()


os.register_at_fork(after_in_child=_in_child)
