"""Refuses a URL in the settings whose scheme nothing answers to, and says where it is written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from stores.errors import SetupError
from stores.registry import REGISTRY
from stores.roles import StoreRole

SOURCES = ("pgoutput", "kafka")
"""Schemes of change sources."""
CANONICAL = ("embedded", "postgresql", "postgres")
"""Schemes of canonical."""


def known_schemes() -> dict[str, tuple[str, ...]]:
    """Return the settings that hold URLs, with the schemes that each may have."""
    stores = {
        str(role): tuple(s for s, row in REGISTRY.items() if row.role is role) for role in StoreRole
    }
    return {"postgres": CANONICAL, **stores, "changes": SOURCES}


def refuse_unknown_schemes(urls: Mapping[str, str], path: Path | None) -> None:
    """Raise SetupError for the first of `urls` (setting → URL) with an unknown scheme. The message
    has the place where it is set, and never more of the URL than its scheme."""
    for setting, known in known_schemes().items():
        scheme, colon, _ = urls.get(setting, f"{known[0]}:").strip().partition(":")
        if colon and scheme.lower() in known:
            continue
        # What stands before a colon may be a host, or a password: only what looks like a scheme is
        # shown.
        shown = repr(scheme) if colon and re.fullmatch(r"[a-z][a-z0-9+]{0,20}", scheme) else "none"
        raise SetupError(
            f"{place(setting, path)}: the setting `{setting}` has an unknown URL scheme: {shown}",
            hint="use one of " + ", ".join(f"{s}:" for s in known),
        )


def place(setting: str, path: Path | None) -> str:
    """Return where a setting is written: the variable, else file and line."""
    variable = f"RECORDGATE_{setting.upper()}"
    if variable in {name.upper() for name in os.environ}:
        return variable
    if path is None:
        return "settings"
    written = re.compile(rf"""\s*["']?{re.escape(setting)}["']?\s*=""")
    lines = path.read_text("utf-8").splitlines()
    numbers = (n for n, line in enumerate(lines, 1) if written.match(line))
    number = next(numbers, None)
    return f"{path}:{number}" if number else str(path)
