"""The data folder is its owner's alone: what earlier versions left open in it is closed at the
start, and nothing that this process makes from then on is open to another account.

Only what recordgate makes is touched, for `data_dir` may be the product's own folder, with its
contract and settings in it; the folder itself keeps its mode for the same reason. `postgres/` has
modes of its own (recordgate.embedded.layout).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from stores import private_files
from stores.errors import SetupError

OURS = ("documents.sqlite*", "search", "exports", "token.secret", "*api_keys.json*")
"""The files that recordgate makes in `data_dir`, whichever stores are set now."""


def close_data(data_dir: Path) -> None:
    """Tighten what is there."""
    for pattern in OURS:
        private_files.tighten_all(data_dir.glob(pattern))


def open_access_log(path: Path) -> BinaryIO:
    """The file, to be appended to. One that is made is 0600; one that is there loses what is
    open to everybody, and keeps what its group may, which can be a log collector's. Raises
    SetupError."""
    try:
        file = open(path, "ab", opener=private_files.opener)  # noqa: SIM115 - the caller's
    except OSError as error:
        raise SetupError(f"access_log {path} cannot be written: {error.strerror}") from None
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        private_files.tighten(path.resolve(), 0o007)
    return file
