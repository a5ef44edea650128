"""Imports a folder of files, each into the type that is called as it is, in the order of
relationships."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recordgate.starting.drafting import FileLoad, data_files
from recordgate.starting.naming import stem_of
from recordgate.starting.order import import_order
from stores.canonical.importing import ImportOptions, ImportReport, run_import
from stores.canonical.importing.columns import find_property
from stores.canonical.importing.options import Progress
from stores.canonical.importing.readers import close_readers, open_readers
from stores.contract.model import Contract, RecordType
from stores.contract.naming import ascii_name
from stores.errors import InputError


@dataclass(frozen=True, slots=True)
class Planned:
    """One import: a file, its type, and its options."""

    type: str
    path: Path
    options: ImportOptions
    again: bool = False
    """True for a second import: the rows are there already, and now get their references."""


def files_of_types(
    contract: Contract, folder: Path, left_out: Collection[str] = ()
) -> dict[str, Path]:
    """Type → its file in the folder. Raises InputError where a file is called like no type, or two
    like one."""
    found: dict[str, Path] = {}
    strangers: list[str] = []
    for path in data_files([folder]):
        if path.name in left_out:
            continue
        stem = stem_of(path)
        record = contract.type(stem) or contract.type(ascii_name(stem))
        if record is None:
            strangers.append(path.name)
        elif record.name in found:
            raise InputError(
                f"{found[record.name].name} and {path.name} are both called like the type"
                f" {record.name}",
                hint=f"leave one out: --except {path.name}",
            )
        else:
            found[record.name] = path
    if strangers:
        raise InputError(
            f"no type of the contract is called like {', '.join(strangers[:10])}",
            hint=f"the types are {', '.join(contract.types)}; leave a file out by --except"
            f" {strangers[0]}",
        )
    return found


def planned(
    contract: Contract,
    files: Mapping[str, Path],
    options: ImportOptions,
    nulls: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None,
) -> list[Planned]:
    """The imports in their order. `nulls`: of a type, what `options.nulls` is for it. Raises
    InputError."""
    found: list[Planned] = []
    seen: set[str] = set()
    for turn in import_order(contract, files):
        record, path = contract.types[turn.type], files[turn.type]
        own = (nulls or {}).get(turn.type, options.nulls)
        again = turn.type in seen
        seen.add(turn.type)
        name = f"{options.batch}-{turn.type}{'-again' if again else ''}" if options.batch else None
        rejects = options.rejects
        if rejects is not None:
            rejects = rejects.with_name(f"{rejects.stem}.{turn.type}{rejects.suffix}")
        columns = _left_out(record, path, options, turn.without)
        one = replace(options, nulls=own, batch=name, rejects=rejects, columns=columns)
        found.append(Planned(turn.type, path, one, again))
    return found


def _left_out(
    record: RecordType, path: Path, options: ImportOptions, without: Sequence[str]
) -> dict[str, str]:
    """The columns of the file that are no part of this import: those of the properties in
    `without`, and those without a name that no property takes."""
    readers = open_readers([path], options.format, options.delimiter)
    try:
        columns = readers[0].columns
    finally:
        close_readers(readers)
    found: dict[str, str] = {}
    for place, header in enumerate(columns, 1):
        prop = find_property(record, header)
        unnamed = prop is None and header == f"column_{place}"
        if unnamed or (prop is not None and prop.name in without):
            found[header] = ""
    return found


def run_all(
    url: str, contract: Contract, imports: Sequence[Planned], progress: Progress
) -> Iterator[tuple[Planned, ImportReport]]:
    """Run the imports one after the other; one that is refused is the last."""
    for one in imports:
        report = run_import(url, contract, one.type, [one.path], one.options, progress)
        yield one, report
        if report.state == "refused":
            return


def nulls_of(loads: Sequence[FileLoad]) -> dict[str, Mapping[str, tuple[str, ...]]]:
    """Type → what stands for a missing value in its file."""
    return {load.type: load.nulls for load in loads}
