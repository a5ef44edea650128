"""Names for record types that come from elsewhere, a database's tables or files: each free in
GraphQL. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from stores.contract import names


def ascii_name(text: str) -> str:
    """`text` as a name of ASCII letters, digits, _ and -."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")[:60]
    return name if re.match(r"[A-Za-z]", name) else f"t_{name}".rstrip("_")


def name_types(texts: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return, for each name, the name of its type and the names of one and of many records in
    GraphQL; no two types share a name for anything."""
    taken: set[tuple[str, str]] = set()
    named: list[tuple[str, str, str]] = []
    for text in texts:
        stem, n = ascii_name(text), 1
        while True:
            name = stem if n == 1 else f"{stem}{n}"
            single, plural = names.single_and_plural(name, "", "")
            wanted = {("name", one.lower()) for one in (name, single, plural)}
            wanted |= names.generated_names(names.pascal(single), single, plural)
            n += 1
            if wanted & taken or single in names.RESERVED_ROOTS or plural in names.RESERVED_ROOTS:
                continue
            if names.pascal(single) in names.RESERVED_TYPES:
                stem, n = f"{ascii_name(text)}_record", 1
                continue
            break
        taken |= wanted
        named.append((name, single, plural))
    return named
