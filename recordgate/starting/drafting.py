"""Drafts a contract from files: reads each, finds its key and the references between them, and
writes it down with the reasons."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recordgate.starting.keys import find_key, is_row_number
from recordgate.starting.links import Keyed, find_links
from recordgate.starting.naming import is_data, name_columns, stem_of
from recordgate.starting.profile import decide_markers
from recordgate.starting.reading import Progress, no_progress, profile_file
from recordgate.starting.writing import TypeDraft, write_contract
from stores.contract.lint import lint_text
from stores.contract.naming import name_types
from stores.errors import ContractError, InputError

MOST_FILES = 100


@dataclass(frozen=True, slots=True)
class FileLoad:
    """The load of a file into its type: the options of `import` beside the file's name."""

    path: Path
    type: str
    nulls: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    """Columns that no property takes."""
    kept: tuple[str, ...] = ()
    """The texts that stand for a missing value elsewhere, but are values like any other in some
    column of this file."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """`text` is the contract; `notes` what a person should know of it."""

    text: str
    loads: tuple[FileLoad, ...]
    notes: tuple[str, ...]

    @property
    def null_options(self) -> list[str]:
        """The options of `import --all` that say what stands for a missing value."""
        return null_options(self.loads)


def contract_from_files(
    given: Sequence[Path],
    keys: Mapping[str, Sequence[str]] | None = None,
    progress: Progress = no_progress,
) -> Drafted:
    """A contract for the records of the files (or those in folders). `keys`: the headers of a
    file's key, by its name with or without what says its format. Raises InputError where a file
    says too little, ContractError where what was written is not sound."""
    paths = data_files(given)
    said = dict(keys or {})
    with tempfile.TemporaryDirectory(prefix="recordgate-init-") as made:
        folder = Path(made)
        named = name_types([stem_of(p) for p in paths])
        profiles = [profile_file(path, folder, progress, files=len(paths)) for path in paths]
        decide_markers(profiles)
        keyed: list[Keyed] = []
        for profile, (name, _, _) in zip(profiles, named, strict=True):
            path = profile.path
            wanted = next((said.pop(n) for n in (path.name, stem_of(path), name) if n in said), ())
            keyed.append(Keyed(profile, name, find_key(profile, folder, wanted, progress)))
            profile.forget_sample()
        if said:
            raise InputError(
                f"--key names {next(iter(said))!r}, which is none of the files",
                hint=f"of {', '.join(p.name for p in paths)}",
            )
        links = find_links(keyed, folder, progress)
        for one in keyed:
            one.key.tally.close()
    drafts = [_draft(one) for one in keyed]
    for draft, one in zip(drafts, keyed, strict=True):
        draft.links = [n for n in links if n.source is one]
    loads = tuple(_load(draft) for draft in drafts)
    text = write_contract(drafts, _title(given, paths), _head(loads, paths))
    problems = [f for f in lint_text(text) if f.severity == "error"]
    if problems:
        raise ContractError(
            f"the contract made of the files is not sound: {problems[0].message}",
            hint=problems[0].hint or "rename the column, or leave the file out",
        )
    return Drafted(text, loads, tuple(_notes(drafts)))


def data_files(given: Sequence[Path]) -> list[Path]:
    """The files, and those of folders (not of folders in them), in order. Raises InputError."""
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.is_file() and is_data(p))
            if not inside:
                raise InputError(
                    f"the folder {path} has no file of records",
                    hint="CSV, TSV, NDJSON, JSON and Parquet are read, by their names",
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path} is neither a file nor a folder")
    found = list(dict.fromkeys(found))
    if len(found) > MOST_FILES:
        raise InputError(f"{len(found)} files, more than {MOST_FILES}")
    by_stem: dict[str, Path] = {}
    for path in found:
        other = by_stem.setdefault(stem_of(path).casefold(), path)
        if other != path:
            raise InputError(
                f"{other} and {path} would both be the type {stem_of(path)!r}",
                hint="rename one; parts of one type are imported by naming them all: recordgate"
                " import TYPE FILE…",
            )
    return found


def _draft(one: Keyed) -> TypeDraft:
    profile, key = one.profile, one.key
    kept, left_out = [], []
    for column in profile.columns:
        unnamed = column.header == f"column_{column.place + 1}"
        if unnamed and column not in key.columns and is_row_number(column):
            left_out.append(f"the column {column.place + 1}, which has no name and counts the rows")
        elif unnamed and not column.filled:
            left_out.append(f"the column {column.place + 1}, which has neither name nor value")
        else:
            kept.append(column)
    return TypeDraft(
        profile, one.name, key.columns, key.reason, kept, name_columns(kept, key.columns), left_out
    )


def _load(draft: TypeDraft) -> FileLoad:
    nulls: dict[str, tuple[str, ...]] = {}
    used = sorted({m for c in draft.columns for m in c.null_markers})
    for marker in used:
        meant = [c for c in draft.columns if marker in c.null_markers]
        not_meant = [c for c in draft.columns if marker in c.markers and c not in meant]
        for header in [c.header for c in meant] if not_meant else [""]:
            nulls[header] = (*nulls.get(header, ()), marker)
    kept = set(map(id, draft.columns))
    left_out = tuple(c.header for c in draft.profile.columns if id(c) not in kept)
    texts = {m for c in draft.columns for m in c.markers if m not in c.null_markers}
    return FileLoad(draft.profile.path, draft.name, nulls, left_out, tuple(sorted(texts)))


def null_options(loads: Sequence[FileLoad]) -> list[str]:
    """Return the options about missing values for `import --all`: one for all files at once where
    that means the same for each."""
    said = [load.nulls for load in loads if load.nulls]
    if not said:
        return []
    plain = {m for nulls in said for markers in nulls.values() for m in markers}
    if not any(m in plain for load in loads for m in load.kept):
        return [f"--null={m}" for m in sorted(plain)]
    found = []
    for load in loads:
        for header, markers in sorted(load.nulls.items()):
            where = f"{load.type}.{header or '*'}"
            found += [f"--null={where}={m}" for m in markers]
    return found


def _title(given: Sequence[Path], paths: Sequence[Path]) -> str:
    if len(given) == 1 and given[0].is_dir():
        return given[0].resolve().name
    return stem_of(paths[0]) if len(paths) == 1 else paths[0].resolve().parent.name or "files"


def _head(loads: Sequence[FileLoad], paths: Sequence[Path]) -> list[str]:
    options = shlex.join(null_options(loads))
    folder = paths[0].parent
    return [
        "Made from files by `recordgate contract init`: read it, and change what is not meant so."
        " What stands behind #",
        "is the reason of what follows. Rules of values (enum, minimum, maximum) set rows aside"
        " that break them.",
        "Load the files by: recordgate import --all"
        f" {shlex.quote(str(folder))}{' ' + options if options else ''}",
    ]


def _notes(drafts: Sequence[TypeDraft]) -> list[str]:
    notes: list[str] = []
    by_profile: dict[int, TypeDraft] = {id(d.profile): d for d in drafts}
    for draft in drafts:
        key = ", ".join(draft.name_of(c) for c in draft.key)
        notes.append(f"{draft.name}: {draft.profile.rows:,} rows, key {key}")
        notes += [f"  left out: {note}" for note in draft.left_out]
        if draft.profile.lost:
            notes.append(
                f"  {draft.profile.lost:,} rows cannot be split into columns; the import sets them"
                " aside"
            )
        for link in draft.links:
            mine = ", ".join(draft.name_of(c) for c in link.columns)
            target = by_profile[id(link.target.profile)].name
            if link.holds:
                notes.append(f"  {mine} → {target}")
            elif link.nearly:
                notes.append(
                    f"  {mine} is no relationship to {target}: {link.dangling:,} of {link.rows:,}"
                    " rows dangle"
                )
    return notes
