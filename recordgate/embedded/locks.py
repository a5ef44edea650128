"""The lock files of an embedded server (flock: the kernel drops a lock when its holder dies).

users.lock shared by each process that uses the server; exclusive by a supervisor that stops it
start.lock exclusive by a process that makes, starts or adopts a server supervisor.lock exclusive by
the supervisor as long as it lives
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stores.errors import SetupError


def open_lock(path: Path) -> int:
    """A descriptor of the lock file, not inherited by programs we run. Closing it drops the
    lock."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except PermissionError as error:
        raise SetupError(
            f"{path} belongs to another account",
            hint=(
                "run recordgate as the account that created the data folder, or set another"
                " data_dir"
            ),
        ) from error
    except OSError as error:
        raise SetupError(f"cannot open {path}: {error.strerror}") from error


def try_lock(fd: int, *, exclusive: bool) -> bool:
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_lock(fd: int, *, exclusive: bool, timeout: float) -> bool:
    """Lock within `timeout` seconds; False where that was not possible."""
    deadline = time.monotonic() + timeout
    while not try_lock(fd, exclusive=exclusive):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def block_lock(fd: int, *, exclusive: bool) -> None:
    """Lock however long it takes, without waking up in between."""
    fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)


def is_free(path: Path) -> bool:
    """Return whether nobody holds the lock exclusively."""
    fd = open_lock(path)
    try:
        return try_lock(fd, exclusive=False)
    finally:
        os.close(fd)


@contextmanager
def exclusive(path: Path, timeout: float, refusal: SetupError) -> Iterator[None]:
    fd = open_lock(path)
    try:
        if not wait_lock(fd, exclusive=True, timeout=timeout):
            raise refusal
        yield
    finally:
        os.close(fd)
