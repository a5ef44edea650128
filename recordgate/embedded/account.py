"""The account that the server runs as: our own, or an unprivileged one where we are root, whom
Postgres refuses."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stores.errors import SetupError

UNPRIVILEGED = ("postgres", "nobody")
"""Accounts tried in this order. initdb wants one that has an entry in passwd."""


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """True where processes and files have to be handed to it."""
        return self.uid != os.geteuid()

    def process_options(self) -> dict[str, Any]:
        """Options of subprocess.Popen that make a child run as this account, with no more
        groups."""
        if not self.is_other:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give `path`, which is ours alone so far, to the account."""
        if self.is_other:
            os.chown(path, self.uid, self.gid)

    def can_enter(self, folder: Path) -> bool:
        """Return whether the account can traverse to `folder`, by trying it."""
        if not self.is_other:
            return os.access(folder, os.X_OK)
        done = subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            check=False,
            **self.process_options(),
        )
        return done.returncode == 0


def choose_account(data: Path | None) -> Account:
    """The account for the cluster in `data`: its owner where we are root and it is there
    already."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if data is not None and data.is_dir():
        found = data.stat()
        if found.st_uid != 0:
            return Account(found.st_uid, found.st_gid)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid)
    raise SetupError(
        "Postgres refuses to run as root, and no unprivileged account was found",
        hint=f"add an account named {UNPRIVILEGED[0]}, or run recordgate as an ordinary account",
    )
