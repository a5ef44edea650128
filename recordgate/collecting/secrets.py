"""Reads the credentials of sources: named in the contract, kept in the environment or in files."""

from __future__ import annotations

import os
from pathlib import Path

from stores.errors import SetupError

_MOST = 64 << 10


def secret_value(reference: str) -> str:
    """The value behind `env:NAME` or `file:/path`, its file's first line. Raises SetupError; never
    says the value."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = os.environ.get(name, "")
        missing = f"the variable {name} is not set"
    else:
        try:
            with Path(name).open("rb") as file:
                value = file.read(_MOST).decode().split("\n", 1)[0].strip()
        except (OSError, UnicodeDecodeError):
            value = ""
        missing = f"the file {name} cannot be read or is empty"
    if not value or not value.isprintable():
        raise SetupError(f"a source's secret: {missing}", hint="the contract names it under `auth`")
    return value
