"""Finds what tells the records of a file apart: the smallest set of columns without a missing value
that is unique in all rows. A column that merely counts the rows is none."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recordgate.starting.kinds import Kind
from recordgate.starting.profile import Column, FileProfile
from recordgate.starting.reading import Progress, count_into, no_progress, read_again, together
from recordgate.starting.tallies import Tally
from stores.contract import names
from stores.errors import InputError

LARGEST = 5
"""Columns of the largest set that is looked for."""
_AT_ONCE = 6
"""Sets that one reading of the file tries."""
_READINGS = 4
"""Readings of the file for sets of one size."""
_TRIED = 30_000
"""Sets of one size that are tried on the sample."""
_HELD = 300_000
_KEYS = frozenset((
    Kind.INTEGER, Kind.TEXT, Kind.DATE, Kind.TIMESTAMP, Kind.LOCAL, Kind.TIME, Kind.UUID,
))  # fmt: skip
_IDENTIFYING = re.compile(
    r"(.*[_ ])?(id|key|code|uuid|guid|isbn|sku|iso|iata|icao|slug|no|nr|num|number)\Z"
)
_LONG = 40
"""Characters above which a text is hardly what one calls a record by."""


@dataclass(frozen=True, slots=True)
class Key:
    """`columns` in the order of the file. `tally` counts their values; whoever has the key closes
    it."""

    columns: tuple[Column, ...]
    tally: Tally
    reason: str


def find_key(
    profile: FileProfile,
    folder: Path,
    wanted: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Key:
    """The key of a file; `wanted`: the headers of its columns, where somebody says them. Raises
    InputError where there is none."""
    if wanted:
        return _said(profile, folder, wanted, progress)
    single = [c for c in profile.columns if c.tally is not None and _may_be_part(c)]
    for column in sorted(single, key=lambda c: _cost(c, profile)):
        tally, column.tally = column.tally, None
        assert tally is not None
        if not tally.distinct()[1]:
            _let_go(profile)
            return Key((column,), tally, f"unique in all {profile.rows:,} rows")
        tally.close()
    _let_go(profile)
    parts = sorted((c for c in profile.columns if _may_be_part(c)), key=lambda c: _cost(c, profile))
    for size in range(2, min(LARGEST, len(parts)) + 1):
        sets = itertools.islice(_unique_in_sample(parts, size, profile), _AT_ONCE * _READINGS)
        while some := list(itertools.islice(sets, _AT_ONCE)):
            if found := _try(profile, some, folder, progress):
                return found
    message, hint = _refusal(profile, parts, folder, progress)
    raise InputError(message, hint=hint)


def _said(profile: FileProfile, folder: Path, wanted: Sequence[str], progress: Progress) -> Key:
    columns = []
    for header in wanted:
        column = profile.column(header)
        if column is None:
            shown = ", ".join(c.header for c in profile.columns[:20])
            raise InputError(f"{profile.path.name} has no column {header!r}", hint=f"of {shown}")
        if column.absent:
            raise InputError(
                f"{profile.path.name}: {header} is missing in {column.absent:,} rows and cannot be"
                " of the key"
            )
        if column.kind not in _KEYS:
            raise InputError(
                f"{profile.path.name}: {header} is {column.kind.value} and cannot be of the key"
            )
        columns.append(column)
    _let_go(profile)
    found = _try(profile, [tuple(columns)], folder, progress)
    if found is None:
        repeats = _repeats(profile, columns, folder, progress)
        raise InputError(
            f"{profile.path.name}: {', '.join(wanted)} does not tell the rows apart: {repeats:,}"
            f" of {profile.rows:,}"
            " share it with another one"
        )
    return found


def _may_be_part(column: Column) -> bool:
    return (
        not column.absent
        and column.kind in _KEYS
        and not column.declared
        and not is_row_number(column)
        and column.longest <= 200
    )


def is_row_number(column: Column) -> bool:
    """Return whether the column only counts the rows from 0 or 1, and has no name that records are
    usually known by."""
    if not column.counts_rows:
        return False
    name = "_".join(w.lower() for w in names.words(column.header))
    return not re.fullmatch(r"(.*_)?(id|key|code|isbn|sku)", name)


def _cost(column: Column, profile: FileProfile) -> tuple[int, int]:
    """Return a sort key that is lower the likelier the column is part of the key."""
    name = "_".join(w.lower() for w in names.words(column.header))
    stem = names.from_header(profile.path.name.partition(".")[0]).lower()
    own = {stem, names.english_singular(names.camel(stem)) or stem}
    cost = 20
    if name == "id" or any(name in (f"{o}_id", f"{o}_code", f"{o}_key", f"{o}id") for o in own):
        cost = 0
    elif _IDENTIFYING.match(name) or column.kind is Kind.UUID:
        cost = 10
    if column.kind in (Kind.DATE, Kind.TIMESTAMP, Kind.LOCAL, Kind.TIME):
        cost += 5
    if column.kind is Kind.TEXT and column.filled:
        cost += 40 * (column.longest > _LONG) + 10 * (column.spaced * 2 > column.filled)
    return cost, column.place


def _unique_in_sample(
    parts: Sequence[Column], size: int, profile: FileProfile
) -> Iterator[tuple[Column, ...]]:
    """Sets of columns that no two rows of the sample share."""
    counts = [len(c.distinct) if c.distinct is not None else profile.rows for c in parts]
    for chosen in itertools.islice(itertools.combinations(range(len(parts)), size), _TRIED):
        if math.prod(counts[i] for i in chosen) < profile.rows:
            continue
        columns = sorted((parts[i] for i in chosen), key=lambda c: c.place)
        if _distinct(columns):
            yield tuple(columns)


def _distinct(columns: Sequence[Column]) -> bool:
    total = len(columns[0].sample)
    for rows in (500, 5_000, 30_000, total):
        some = min(rows, total)
        if len(set(itertools.islice(zip(*(c.sample for c in columns), strict=True), some))) < some:
            return False
        if some == total:
            break
    return True


def _try(
    profile: FileProfile,
    sets: Sequence[tuple[Column, ...]],
    folder: Path,
    progress: Progress,
) -> Key | None:
    """The first of the sets that is unique in the whole file."""
    tallies: list[Tally | None] = [Tally(folder, _HELD // len(sets)) for _ in sets]
    columns = list(dict.fromkeys(c for some in sets for c in some))
    at = {c.place: i for i, c in enumerate(columns)}
    for block in read_again(profile, columns, progress):
        for i, some in enumerate(sets):
            tally = tallies[i]
            if tally is None:
                continue
            count_into(tally, together([block[at[c.place]] for c in some]))
            if tally.repeated:
                tally.close()
                tallies[i] = None
        if not any(tallies):
            return None
    found: Key | None = None
    for some, tally in zip(sets, tallies, strict=True):
        if tally is None:
            continue
        if found is None and not tally.distinct()[1]:
            fewer = "no single column is" if len(some) == 2 else "no smaller set is"
            what = (
                "unique" if len(some) == 1 else f"{fewer} unique; together these {len(some)} are,"
            )
            found = Key(some, tally, f"{what} in all {profile.rows:,} rows")
        else:
            tally.close()
    return found


def _repeats(
    profile: FileProfile, columns: Sequence[Column], folder: Path, progress: Progress
) -> int:
    """Return the number of rows that share their values in `columns` with another one."""
    tally = Tally(folder, _HELD)
    for block in read_again(profile, columns, progress):
        count_into(tally, together([c.fill_null("") for c in block]))
    repeats = tally.distinct()[1]
    tally.close()
    return repeats


def _refusal(
    profile: FileProfile, parts: Sequence[Column], folder: Path, progress: Progress
) -> tuple[str, str]:
    """The message and the hint for a file without a key."""
    name = profile.path.name
    message = (
        f"{name}: no set of up to {LARGEST} columns without missing values tells its"
        f" {profile.rows:,} rows apart"
    )
    repeats = _repeats(profile, profile.columns, folder, progress)
    if repeats:
        return (
            message,
            f"{repeats:,} rows are equal to another one in every column: remove them first",
        )
    counting = [c.header for c in profile.columns if is_row_number(c)]
    if counting:
        return message, (
            f"{counting[0]!r} only counts the rows, which changes with the file; if it is what you"
            " call a record by,"
            f" say so: --key {name}={counting[0]}"
        )
    return message, "add a column that names each record, or leave the file out" + (
        "" if parts else "; a number with decimals, a truth value or JSON cannot be a key"
    )


def _let_go(profile: FileProfile) -> None:
    for column in profile.columns:
        if column.tally is not None:
            column.tally.close()
            column.tally = None
