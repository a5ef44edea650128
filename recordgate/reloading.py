"""Checks of a running process before it takes another contract, and the meaning of SIGHUP to it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from stores.contract.findings import Findings
from stores.contract.lint import contract_files
from stores.contract.model import Contract
from stores.errors import SetupError

_HANGUP = 1
"""The number of SIGHUP, and its place in a process's mask of signals."""


def require_same_product(before: Contract, after: Contract) -> None:
    """Raise SetupError where the contract is another product's: its positions, its slot and its
    publication have other names."""
    if before.id != after.id:
        raise SetupError(
            f"the contract's id is {after.id!r}, and this process is that of {before.id!r}",
            hint="keep the id, or restart the process for another product",
        )
    if before.managed != after.managed:
        raise SetupError(
            "`managed` is not what it was: the tables would be somebody else's",
            hint="run `recordgate apply`, and restart the process",
        )


def require_files(path: Path) -> None:
    """Raise SetupError where a file of the contract is none: a pipe that nobody writes to would
    keep a running process waiting without end, and its exit too."""
    for file in contract_files(path, Findings()):
        if file.exists() and not file.is_file():
            raise SetupError(f"{file} is not a file", hint="name a contract file, or a folder")


class Terminal:
    """The terminal that a process was started from, where it was from one."""

    def __init__(self, descriptor: int = 0) -> None:
        """`descriptor`: that of the standard input."""
        self._descriptor: int | None = None
        with suppress(OSError):
            if os.isatty(descriptor) and os.tcgetpgrp(descriptor) >= 0:
                self._descriptor = descriptor

    def is_gone(self) -> bool:
        """Return whether it was closed: then SIGHUP means what it has always meant."""
        if self._descriptor is None:
            return False
        try:
            os.tcgetpgrp(self._descriptor)
        except OSError:
            return True
        return False


def takes_hangup(pid: int) -> bool:
    """Return whether the process of this machine has a handler for SIGHUP; without one it would end
    by it. False where the system does not say."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (_HANGUP - 1) & 1)
    except (OSError, ValueError, IndexError):
        pass
    return False
