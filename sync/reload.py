"""A generation being built: the walk through canonical in pages, and the check before it becomes
the active one.

Changes flow into it from its first moment, so a page needs no lock and no common snapshot: whatever
changes after a page was read comes as a change, with a greater version.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import orjson

from stores.protocols import Store
from sync.projection import Page, Projector

SAMPLES = 16
SAMPLE_SIZE = 16
PATIENCE = 8
"""The number of checks, one second apart, that may fail before the generation is built again."""


@dataclass(slots=True)
class Load:
    """`cursor`: the key after which the next page is read. `kept`, `kept_rows`, `kept_version`:
    what has been published, and is recorded. `walked`: the last page has been read; `complete`:
    published."""

    type_name: str
    number: int
    cursor: str | None = None
    kept: str | None = None
    kept_rows: int = 0
    kept_version: int = 0
    walked: bool = False
    complete: bool = False
    attempts: int = 0
    wrong: str = ""
    """The fault that the last check found; empty where it found none."""
    not_before: float = 0.0
    starts: list[str] = field(default_factory=list)
    """Keys at which samples are compared."""
    counted: int | None = None
    """Canonical's count at the last look."""
    suspects: dict[str, bytes | None] = field(default_factory=dict)
    """The records that differed at the last look: key → canonical's document."""

    def restart(self) -> None:
        """Pages that were read and not published are read again."""
        self.cursor = self.kept
        self.walked = self.complete

    def note_read(self, page: Page) -> None:
        if len(self.starts) < SAMPLES and page.documents:
            self.starts.append(random.choice(list(page.documents)))
        self.cursor = page.last
        self.walked = page.last is None

    def note_published(self, rows: int, version: int, last: str | None) -> None:
        self.kept_rows += rows
        self.kept_version = version
        if last is None:
            self.complete = True
        else:
            self.kept = last


async def problem(store: Store, projector: Projector, load: Load, slack: int) -> str:
    """Return why the generation does not hold what canonical holds, or an empty text. `slack` is
    the number of records that may be missing or surplus because their changes are on the way.

    A record that is written all the time differs at every comparison and is no reason to wait for
    ever: a difference counts again only if canonical has the same document as at the previous
    comparison.
    """
    earlier, load.counted = load.counted, await projector.count(load.type_name)
    held = await store.count(load.type_name, load.number)
    after = await projector.count(load.type_name)
    counts = [c for c in (earlier, load.counted, after) if c is not None]
    if not min(counts) - slack <= held <= max(counts) + slack:
        return f"it holds {held} records, but canonical holds {after}"
    before, load.suspects = load.suspects, await _differing(store, projector, load)
    if load.attempts:
        lasting = sum(1 for k, d in load.suspects.items() if k in before and before[k] == d)
    else:
        lasting = len(load.suspects)
    if lasting > slack:
        return f"{lasting} of {len(load.starts) * SAMPLE_SIZE} sampled records differ"
    return ""


async def _differing(store: Store, projector: Projector, load: Load) -> dict[str, bytes | None]:
    """Return canonical's documents for the sampled keys that the generation holds differently."""
    found: dict[str, bytes | None] = {}
    for start in load.starts:
        sample = await store.scan(load.type_name, load.number, start, SAMPLE_SIZE)
        if not sample:
            continue
        reading = await projector.read(load.type_name, [s.key for s in sample])
        for stored in sample:
            document = reading.documents.get(stored.key)
            if not same_document(document, stored.document):
                found[stored.key] = document
    return found


def same_document(canonical: bytes | None, stored: bytes | None) -> bool:
    """Equal byte for byte, or as parsed JSON for a store that prints JSON its own way."""
    if canonical is None or stored is None:
        return canonical is stored
    if canonical == stored:
        return True
    try:
        return bool(orjson.loads(canonical) == orjson.loads(stored))
    except orjson.JSONDecodeError:
        return False
