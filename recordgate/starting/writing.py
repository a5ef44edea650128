"""The contract of some files as YAML, each line of it with its reason as a comment. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from recordgate.starting.links import Link
from recordgate.starting.naming import PropertyName
from recordgate.starting.profile import Column, FileProfile
from recordgate.starting.proposals import propose
from stores.contract.naming import ascii_name

API_VERSION = "v3.2.0"


@dataclass(slots=True)
class TypeDraft:
    """A record type to be: its file, its names, its key, what its columns point to and what they
    nearly do."""

    profile: FileProfile
    name: str
    key: tuple[Column, ...]
    key_reason: str
    columns: list[Column]
    """Without those that are left out."""
    names: list[PropertyName]
    left_out: list[str]
    """The columns that are left out, each with the reason."""
    links: list[Link] = field(default_factory=list)

    def name_of(self, column: Column) -> str:
        return next(n.name for c, n in zip(self.columns, self.names, strict=True) if c is column)


def write_contract(drafts: Sequence[TypeDraft], title: str, head: Sequence[str]) -> str:
    """The whole contract. `head`: lines that stand above it."""
    by_profile = {id(d.profile): d for d in drafts}
    lines = [f"# {_one_line(line)}" if line else "#" for line in head]
    lines += [
        f"apiVersion: {API_VERSION}",
        "kind: DataContract",
        f"id: {_flow(ascii_name(title))}",
        f"name: {_flow(title)}",
        "version: 1.0.0",
        "status: draft",
        "schema:",
    ]
    for draft in drafts:
        lines += _type(draft, by_profile)
    return "\n".join(lines) + "\n"


def _type(draft: TypeDraft, by_profile: dict[int, TypeDraft]) -> Iterator[str]:
    lost = (
        f", and {draft.profile.lost:,} that could not be split into columns"
        if draft.profile.lost
        else ""
    )
    yield f"  # {_one_line(draft.profile.path.name)}: {draft.profile.rows:,} rows{lost}."
    key = ", ".join(draft.name_of(c) for c in draft.key)
    yield f"  # key: {key} ({draft.key_reason})"
    for note in draft.left_out:
        yield f"  # left out: {_one_line(note)}"
    for link in draft.links:
        if link.nearly and len(link.columns) > 1:
            yield f"  # {_nearly(link, draft, by_profile)}"
    yield f"  - name: {_flow(draft.name)}"
    several = [n for n in draft.links if n.holds and len(n.columns) > 1]
    if several:
        yield "    relationships:"
    for link in several:
        target = by_profile[id(link.target.profile)]
        yield f"      # {_holds(link)}"
        mine = [f"{draft.name}.{draft.name_of(c)}" for c in link.columns]
        theirs = [f"{target.name}.{target.name_of(c)}" for c in link.target.key.columns]
        yield f"      - {_flow({'from': mine, 'to': theirs})}"
    yield "    properties:"
    for column, name in zip(draft.columns, draft.names, strict=True):
        yield from _property(draft, column, name, by_profile)


def _property(
    draft: TypeDraft, column: Column, name: PropertyName, by_profile: dict[int, TypeDraft]
) -> Iterator[str]:
    links = [n for n in draft.links if len(n.columns) == 1 and n.columns[0] is column]
    holding = [n for n in links if n.holds]
    of_key = any(c is column for c in draft.key)
    linked = any(column in n.columns for n in draft.links if n.holds)
    found = propose(column, of_key=of_key, alone=of_key and len(draft.key) == 1, linked=linked)
    if column.header != name.name:
        yield f"      # the column {_one_line(repr(column.header))} of the file"
    for reason in found.reasons:
        yield f"      # {_one_line(reason)}"
    for link in holding:
        yield f"      # relationship: {_holds(link)}"
    for link in links:
        if link.nearly:
            yield f"      # {_nearly(link, draft, by_profile)}"
    yield f"      - name: {_flow(name.name)}"
    keys: dict[str, Any] = {"physicalName": name.physical} if name.physical else {}
    keys |= found.keys
    if of_key:
        place = next(i for i, c in enumerate(draft.key, 1) if c is column)
        keys |= {"primaryKey": True, "primaryKeyPosition": place}
    if holding:
        targets = [(by_profile[id(n.target.profile)], n.target.key.columns[0]) for n in holding]
        keys["relationships"] = [{"to": f"{t.name}.{t.name_of(c)}"} for t, c in targets]
    if found.search:
        keys["customProperties"] = [
            {"property": "search", "vendor": "recordgate", "value": found.search}
        ]
    for key, value in keys.items():
        yield f"        {key}: {_flow(value)}"


def _holds(link: Link) -> str:
    by_name = ", and the name says so" if link.named else ""
    return f"all {link.rows:,} values are keys of {_one_line(link.target.name)}{by_name}"


def _nearly(link: Link, draft: TypeDraft, by_profile: dict[int, TypeDraft]) -> str:
    mine = ", ".join(draft.name_of(c) for c in link.columns)
    target = by_profile[id(link.target.profile)].name
    return (
        f"no relationship {mine} → {target}: {link.dangling:,} of {link.rows:,} rows dangle, with"
        f" {link.values:,}"
        " different values that have no record there"
    )


def _flow(value: Any) -> str:
    """The value on one line of YAML."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9
    )
    return str(text).removesuffix("\n").removesuffix("\n...")


def _one_line(text: str) -> str:
    return "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
