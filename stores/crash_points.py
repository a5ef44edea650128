"""Places where a test kills or stops the process for real, to show that it loses nothing just
there.

`crash_point(name)` does nothing unless RECORDGATE_TEST_CRASH_POINT is `name`, or `name:n` for its
n-th call. The signal is SIGKILL, or the one that RECORDGATE_TEST_CRASH_SIGNAL names.
"""

from __future__ import annotations

import os
import signal

_NAME, _, _COUNT = os.environ.get("RECORDGATE_TEST_CRASH_POINT", "").partition(":")
_SIGNAL = signal.Signals[os.environ.get("RECORDGATE_TEST_CRASH_SIGNAL", "SIGKILL")]
_left = int(_COUNT or 1)


def arm(name: str, count: int = 1) -> None:
    """Arm a crash point in a process that has been forked, as the variable does at a start."""
    global _NAME, _left
    _NAME, _left = name, count


def crash_point(name: str) -> None:
    if name == _NAME:
        global _left
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), _SIGNAL)
