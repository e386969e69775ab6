"""Forked children of a test process: they never go on with pytest's work, and never hang."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable

PATIENCE = 60
"""Seconds after which a child is ended by SIGALRM."""


def fork(work: Callable[[], object]) -> int:
    """The pid of a child that does ``work``; see ``exit_code``.

    An error is the child's end: it must not reach the child's copy of pytest, which would tear
    down the parent's servers and go on with the parent's tests.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of ours run: that is the test
        pid = os.fork()
    if pid:
        return pid
    code = 2
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE)
        code = 0 if work() else 1
    except BaseException:  # noqa: BLE001  # see above
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)


def exit_code(pid: int) -> int:
    """Wait for a child: 0 if its work was true, 1 if false, 2 if it raised, -14 if it hung."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
