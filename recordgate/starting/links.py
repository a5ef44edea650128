"""Finds which columns of a file hold keys of another: by inclusion of their values, and by their
names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recordgate.starting.keys import Key
from recordgate.starting.kinds import Kind
from recordgate.starting.profile import Column, FileProfile
from recordgate.starting.reading import Progress, count_into, no_progress, read_again, together
from recordgate.starting.tallies import Tally
from stores.contract import names

_HELD = 200_000
_NEARLY = 0.5
"""The share of rows from which a relationship that does not hold is spoken of."""
_MOMENTS = frozenset((
    Kind.DATE, Kind.TIMESTAMP, Kind.LOCAL, Kind.TIME, Kind.BOOLEAN, Kind.JSON, Kind.NUMBER,
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Keyed:
    """A file, what its records are called, and its key."""

    profile: FileProfile
    name: str
    key: Key


@dataclass(frozen=True, slots=True)
class Link:
    """`columns` of `source` against the key of `target`. `dangling` rows, with `values` different
    values, have none there; a link without is a relationship."""

    source: Keyed
    columns: tuple[Column, ...]
    target: Keyed
    rows: int
    dangling: int
    values: int
    named: bool
    """The name says it, too."""

    @property
    def holds(self) -> bool:
        return not self.dangling

    @property
    def nearly(self) -> bool:
        return bool(self.dangling) and self.dangling <= self.rows * (1 - _NEARLY)


def find_links(
    files: Sequence[Keyed], folder: Path, progress: Progress = no_progress
) -> list[Link]:
    """The relationships between the files, one of each set of columns, and those that nearly
    are."""
    found: list[Link] = []
    for source in files:
        pairs = list(_candidates(source, files))
        if pairs:
            found += _chosen(_compared(source, pairs, folder, progress))
    return found


def _candidates(
    source: Keyed, files: Sequence[Keyed]
) -> Iterator[tuple[tuple[Column, ...], Keyed, bool]]:
    """Columns of `source`, and a file whose key they may hold."""
    for target in files:
        key = target.key.columns
        if len(key) > 1:
            mine = [source.profile.column(c.header) for c in key]
            same = [c for c, k in zip(mine, key, strict=True) if c is not None and c.kind is k.kind]
            if target is not source and len(same) == len(key):
                yield tuple(same), target, True
            continue
        for column in source.profile.columns:
            own_key = column in source.key.columns and (
                target is source or len(source.key.columns) == 1
            )
            # A key that is another file's key, too, is a relationship only where its name says so.
            if own_key and (target is source or not _names(column, target, own_name=True)):
                continue
            if column.kind is not key[0].kind or not column.filled or column.declared:
                continue
            named = _names(column, target)
            if named or _tells(column, target):
                yield (column,), target, named


def _names(column: Column, target: Keyed, *, own_name: bool = False) -> bool:
    """Return whether the column's name suggests that it holds the target's key; with `own_name`, by
    the name of the target's type."""
    mine = names.words(column.header)
    words = [w.lower() for w in mine]
    key = [w.lower() for w in names.words(target.key.columns[0].header)]
    own = [w.lower() for w in names.words(target.name)]
    single = names.english_singular(own[-1]) if own else None
    forms = [own, [*own[:-1], single]] if single else [own]
    if (
        not own_name
        and words == key
        and key not in (["id"], ["name"], ["key"], ["code"], ["no"], ["nr"], ["number"])
    ):
        return True
    return any(
        words[-len(form) :] == form or words[-len([*form, *key]) :] == [*form, *key]
        for form in forms
    ) or (len(words) > 1 and words[-1] in ("id", "code", "key") and words[:-1] in forms)


def _tells(column: Column, target: Keyed) -> bool:
    """Return whether inclusion alone is evidence: it is for texts and UUIDs, not for numbers, which
    are in each other by chance."""
    if column.kind in _MOMENTS or column.kind is Kind.INTEGER:
        return False
    distinct = column.distinct
    return column.kind is Kind.UUID or distinct is None or len(distinct) > 1


def _compared(
    source: Keyed,
    pairs: Sequence[tuple[tuple[Column, ...], Keyed, bool]],
    folder: Path,
    progress: Progress,
) -> list[Link]:
    tallies: dict[tuple[int, ...], Tally] = {}
    counted: dict[tuple[int, ...], int] = {}
    sets = list(dict.fromkeys(columns_of for columns_of, _, _ in pairs))
    columns = list(dict.fromkeys(c for some in sets for c in some))
    at = {c.place: i for i, c in enumerate(columns)}
    for some in sets:
        tallies[_places(some)] = Tally(folder, _HELD // len(sets))
        counted[_places(some)] = 0
    for block in read_again(source.profile, columns, progress):
        for some in sets:
            values = together([block[at[c.place]] for c in some])
            counted[_places(some)] += len(values)
            count_into(tallies[_places(some)], values)
    found = []
    for some, target, named in pairs:
        dangling, values = tallies[_places(some)].missing_from(target.key.tally)
        rows = counted[_places(some)]
        found.append(Link(source, some, target, rows, dangling, values, named))
    for tally in tallies.values():
        tally.close()
    return found


def _places(columns: Sequence[Column]) -> tuple[int, ...]:
    return tuple(c.place for c in columns)


def _chosen(links: Sequence[Link]) -> Iterator[Link]:
    """Yield, for each set of columns, the link that holds: the named one, else that to the smallest
    file; where none holds, those that nearly do."""
    by_columns: dict[tuple[int, ...], list[Link]] = {}
    for link in links:
        by_columns.setdefault(_places(link.columns), []).append(link)
    for some in by_columns.values():
        holding = [link for link in some if link.holds]
        if holding:
            yield min(holding, key=lambda n: (not n.named, n.target.profile.rows))
            continue
        yield from (link for link in some if link.nearly)
