"""Plans a sink's generations of a type: those that are written to, the one that is to be built, and
those that must go.

`plan` decides from the generations that the store has and those in recordgate.generations in
canonical. The store is right about what is there; the table knows how far a building generation is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stores.canonical.connect import AsyncConnection
from stores.protocols import Generation


@dataclass(frozen=True, slots=True)
class Entry:
    """A generation in recordgate.generations. `resume_key`: everything up to there is in it, None:
    nothing yet. `version`: of the last page that was read for it."""

    number: int
    state: str
    shape: str
    resume_key: str | None = None
    version: int | None = None
    rows: int = 0
    walked: bool = False
    """Every page is in it; it only waits to be activated."""


@dataclass(slots=True)
class GenerationPlan:
    """`write`: into these every change goes (the active one, kept ones of the same shape, the one
    being built). `build`: the number to build, None where none is needed; `resume` its entry
    where the building goes on. `drop`: what must go now."""

    active: int | None = None
    write: list[int] = field(default_factory=list)
    build: int | None = None
    resume: Entry | None = None
    drop: list[int] = field(default_factory=list)


def plan(
    stored: Sequence[Generation],
    entries: Sequence[Entry],
    shape: str,
    *,
    required: bool,
    keep: int,
) -> GenerationPlan:
    """`required`: what is there has missed changes, or is not ours, and must be loaded anew; a
    building that goes on was begun after that was found. `keep`: how many generations stay, the
    active one included."""
    found = GenerationPlan()
    by_number = {entry.number: entry for entry in entries}
    active = next((g for g in stored if g.state == "active"), None)
    building = [g for g in stored if g.state == "building"]
    usable = [
        g
        for g in building
        if g.shape == shape
        and (entry := by_number.get(g.number)) is not None
        and entry.state == "building"
        and (active is None or g.number > active.number)
    ]
    if active is not None:
        found.active = active.number
        found.write.append(active.number)
    if usable:
        goes_on = max(usable, key=lambda g: g.number)
        found.build = goes_on.number
        found.resume = by_number[goes_on.number]
    elif active is None or active.shape != shape or required:
        found.build = next_number(stored, entries)
    found.drop = [g.number for g in building if g.number != found.build]
    retired = sorted((g for g in stored if g.state == "retired"), key=lambda g: -g.number)
    warm = [g for g in retired if g.shape == shape and not required][: max(0, keep - 1)]
    found.write += [g.number for g in warm]
    found.drop += [g.number for g in retired if g not in warm]
    if found.resume is not None and found.build is not None:
        found.write.append(found.build)
    return found


def next_number(stored: Sequence[Generation], entries: Sequence[Entry]) -> int:
    """Return a number that the store has never shown. A number that is only recorded as building
    was not created: the worker died in between."""
    numbers = [g.number for g in stored] + [e.number for e in entries if e.state != "building"]
    return max(numbers, default=0) + 1


# The table ----------------------------------------------------------------------------------------

_READ = """
SELECT number, state, shape, resume_key, version, rows, walked FROM recordgate.generations
WHERE sink = %s AND type = %s ORDER BY number
"""
_BEGIN = """
INSERT INTO recordgate.generations (sink, type, number, state, shape) VALUES (%s, %s, %s,
  'building', %s)
ON CONFLICT (sink, type, number) DO UPDATE SET state = 'building', shape = excluded.shape,
  resume_key = NULL, version = NULL, rows = 0, walked = false, started_at = now(),
    activated_at = NULL,
  retired_at = NULL
"""
_ADVANCE = """
UPDATE recordgate.generations SET resume_key = %s, version = %s, rows = %s, walked = %s
WHERE sink = %s AND type = %s AND number = %s
"""
_ACTIVATE = """
INSERT INTO recordgate.generations (sink, type, number, state, shape, activated_at)
VALUES (%(sink)s, %(type)s, %(number)s, 'active', %(shape)s, now())
ON CONFLICT (sink, type, number) DO UPDATE SET state = 'active', activated_at = now(),
  retired_at = NULL
"""
_RETIRE = """
UPDATE recordgate.generations SET state = 'retired', retired_at = now()
WHERE sink = %(sink)s AND type = %(type)s AND state = 'active' AND number <> %(number)s
"""
_FORGET = "DELETE FROM recordgate.generations WHERE sink = %s AND type = %s AND number = %s"
_FORGET_BUILDING = """
DELETE FROM recordgate.generations WHERE sink = %s AND type = ANY(%s) AND state = 'building'
"""


async def read(conn: AsyncConnection, sink: str, type_name: str) -> list[Entry]:
    rows = await (await conn.execute(_READ, (sink, type_name))).fetchall()
    return [Entry(*row) for row in rows]


async def begin(conn: AsyncConnection, sink: str, type_name: str, number: int, shape: str) -> None:
    """Record a new building before the store is told, so that no number is used twice."""
    await conn.execute(_BEGIN, (sink, type_name, number, shape))


async def advance(
    conn: AsyncConnection,
    sink: str,
    type_name: str,
    number: int,
    *,
    resume_key: str | None,
    version: int,
    rows: int,
    walked: bool,
) -> None:
    """Record how far a building is, after that much was published."""
    await conn.execute(_ADVANCE, (resume_key, version, rows, walked, sink, type_name, number))


async def activate(
    conn: AsyncConnection, sink: str, type_name: str, number: int, shape: str
) -> None:
    """Note that `number` is the active one."""
    given = {"sink": sink, "type": type_name, "number": number, "shape": shape}
    async with conn.transaction():
        await conn.execute(_RETIRE, given)
        await conn.execute(_ACTIVATE, given)


async def forget_building(conn: AsyncConnection, sink: str, types: Iterable[str]) -> None:
    """Delete the records of what is being built of `types`, because it has missed changes."""
    await conn.execute(_FORGET_BUILDING, (sink, list(types)))


async def forget(conn: AsyncConnection, sink: str, type_name: str, number: int) -> None:
    await conn.execute(_FORGET, (sink, type_name, number))
