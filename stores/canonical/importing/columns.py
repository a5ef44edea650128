"""Matches the columns of a file with properties: by name, column name or GraphQL name, or as
mapped. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stores.canonical.importing.options import Mode
from stores.contract import names
from stores.contract.model import Property, RecordType
from stores.errors import InputError


@dataclass(frozen=True, slots=True)
class Matched:
    """A column to import: its `index` in the file, its `header` there, and the property it
    fills."""

    index: int
    header: str
    property: Property


def find_property(record: RecordType, name: str) -> Property | None:
    """Return the property called `name`. Letter case is ignored if that leaves only one
    property."""
    for properties in (record.by_name, record.by_column, record.by_graphql):
        if name in properties:
            return properties[name]
    folded = name.casefold()
    found = {
        p.name: p
        for p in record.properties
        if folded in (p.name.casefold(), p.column.casefold(), p.graphql.casefold())
    }
    if len(found) == 1:
        return next(iter(found.values()))
    # What `contract init` calls the column of such a header.
    return record.by_name.get(names.from_header(name))


def is_imported(record: RecordType, prop: Property, computed: Collection[str]) -> bool:
    """Return whether a file's column may fill the property.

    A property that Postgres computes is not filled, except a key that it counts up: that tells
    whose row it is. `computed` are the columns that no INSERT may name.
    """
    return not prop.generated or (prop.column in record.key and prop.column not in computed)


def match_columns(
    record: RecordType,
    headers: Sequence[str],
    mapping: Mapping[str, str],
    mode: Mode,
    defaulted: Collection[str],
    computed: Collection[str],
    file: str,
) -> tuple[Matched, ...]:
    """The columns to import, in the contract's order. `defaulted`: columns that Postgres fills in
    by itself; `computed`: as in `is_imported`. What is not imported is passed over, as an export of
    ours has it, unless it is mapped. In mode delete the key's columns alone. Raises InputError that
    names every column at fault."""
    for header in mapping:
        if header not in headers:
            raise InputError(
                f"{file} has no column {header!r}, which --map names",
                hint=f"its columns are {_listed(headers)}",
            )
    found: dict[str, Matched] = {}
    unknown: list[str] = []
    for index, header in enumerate(headers):
        name = mapping.get(header, header)
        if header in mapping and not name:
            continue
        prop = find_property(record, name)
        if prop is not None and not is_imported(record, prop, computed):
            if header in mapping:
                raise InputError(
                    f"{file}: {record.name}.{prop.name} is computed by Postgres and cannot be"
                    " imported",
                    hint=f"leave the column out: --map {header}=",
                )
            continue
        if prop is None:
            unknown.append(header)
            continue
        if prop.name in found:
            raise InputError(
                f"{file}: the columns {found[prop.name].header!r} and {header!r} both map to"
                f" {record.name}.{prop.name}",
                hint=f"leave one out: --map {header}=",
            )
        found[prop.name] = Matched(index, header, prop)
    twice = [h for h in unknown if re.sub(r"_\d+$", "", h) in set(headers) - {h}]
    if twice:
        name = re.sub(r"_\d+$", "", twice[0])
        raise InputError(
            f"{file} has two columns named {name}, and {record.name} no property for the second",
            hint=f"leave it out by --map {twice[0]}=, or map it to a property",
        )
    if unknown:
        raise InputError(
            f"{file}: {record.name} has no property for {_listed(unknown)}",
            hint=_unknown_hint(record, unknown[0], found),
        )
    _require(record, found, mode, defaulted, file)
    kept = [found[p.name] for p in record.properties if p.name in found]
    if mode is Mode.DELETE:
        kept = [m for m in kept if m.property.column in record.key]
    return tuple(kept)


def _require(
    record: RecordType,
    found: Mapping[str, Matched],
    mode: Mode,
    defaulted: Collection[str],
    file: str,
) -> None:
    missing = [
        p.name
        for p in record.properties
        if p.name not in found
        and (p.column in record.key or (p.required and mode is not Mode.DELETE and not p.generated))
        and (p.column not in defaulted or p.column in record.key)
    ]
    if missing:
        raise InputError(
            f"{file} lacks {_listed(missing)}, which {record.name} requires",
            hint="add the column, or map another one to it: --map COLUMN=" + missing[0],
        )


def _unknown_hint(record: RecordType, header: str, found: Mapping[str, Matched]) -> str:
    free = [p.name for p in record.properties if p.name not in found and not p.generated]
    close = difflib.get_close_matches(header, free, n=1)
    guess = f"--map {header}={close[0]}" if close else f"--map {header}=FIELD"
    choices = f"; the fields left are {_listed(free)}" if free else ""
    return f"{guess}, or --map {header}= to leave it out{choices}"


def _listed(names: Sequence[str], most: int = 30) -> str:
    shown = ", ".join(n[:80] or "''" for n in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
