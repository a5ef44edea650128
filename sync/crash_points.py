"""Places where a test kills the process for real, to show that a crash just there loses nothing.

`crash_point(name)` does nothing unless RECORDGATE_TEST_CRASH_POINT is `name`, or `name:n` for its n-th call.
"""

from __future__ import annotations

import os
import signal

_NAME, _, _COUNT = os.environ.get("RECORDGATE_TEST_CRASH_POINT", "").partition(":")
_left = int(_COUNT or 1)


def crash_point(name: str) -> None:
    if name == _NAME:
        global _left
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
