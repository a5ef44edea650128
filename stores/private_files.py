"""Files that only their owner may read: what recordgate keeps on a disk holds records, and a
machine has more accounts than ours.

Folders are made 0700 and files 0600, whatever the umask; what an earlier version left open is
tightened when its owner opens it. What cannot be tightened (another account's file) is logged once
and left.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER, FILE = 0o700, 0o600
UMASK = 0o077
"""Umask of long-lived writing processes: Tantivy creates its files itself, and only the umask
limits their mode."""

_CREATING = threading.Lock()


def make_folder(folder: Path, mode: int = FOLDER) -> None:
    """Make `folder` and the folders above it that are missing; one that is there keeps its mode.
    Raises OSError."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        make_folder(folder.parent, mode)
    try:
        folder.mkdir(mode=FOLDER)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    folder.chmod(mode)


def create(path: Path) -> None:
    """Make an empty file of ours where there is none. Raises OSError.

    One at a time: to close a file ends every lock that this process has on it, and SQLite has
    locks. So the maker has closed it before any other thread can have opened it.
    """
    with _CREATING:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE))
        except FileExistsError:
            return


def opener(path: str, flags: int) -> int:
    """Open a file for `open(…, opener=opener)`. A new file gets mode 0600, an existing one keeps
    its mode."""
    return os.open(path, flags, FILE)


def tighten(path: Path, closed: int = 0o077) -> None:
    """Take the `closed` bits from the mode of a file or folder of ours; a link is not followed, and
    what is gone is no matter."""
    try:
        found = path.lstat()
        kind = found.st_mode
        if kind & closed and (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            path.chmod(stat.S_IMODE(kind) & ~closed)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning(
            "%s is readable by other accounts, and its permissions cannot be changed: %s",
            path,
            error.strerror,
        )


def tighten_tree(top: Path) -> None:
    """`tighten` a folder and everything below it, from the top down; also a single file."""
    tighten(top)
    if top.is_symlink() or not top.is_dir():
        return
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            tighten(Path(folder, name))


def tighten_all(paths: Iterable[Path]) -> None:
    for path in paths:
        tighten_tree(path)
