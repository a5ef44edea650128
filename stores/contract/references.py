"""Resolves the `from` and `to` of a relationship: `type.property`, or a path of ids as ODCS has
it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stores.contract.draft import Draft
from stores.contract.extensions import suggestion
from stores.contract.model import Property
from stores.contract.node import Node


def resolve_reference(at: Node, drafts: Sequence[Draft]) -> tuple[Draft, Property] | None:
    """Return the property that the text at `at` names, or None with a finding."""
    text = at.data
    if not isinstance(text, str):
        return None  # the JSON schema has said so
    if "/" in text or "#" in text:
        return _by_ids(at, text, drafts)
    type_name, _, rest = text.partition(".")
    draft = _draft(type_name, drafts)
    if draft is None:
        at.report(
            "DANGLING_RELATIONSHIP",
            f"there is no type {type_name!r}",
            suggestion(type_name, [d.name for d in drafts]),
        )
        return None
    found = draft.property(rest)
    if found is None:
        known = [d.property.name for d in draft.declared]
        if any(n.text("name") == rest for n in draft.node.items("properties")):
            return None  # it is there, and wrong: that is its own finding
        hint = f"name a property: {draft.name}.property" if not rest else suggestion(rest, known)
        at.report("DANGLING_RELATIONSHIP", f"{draft.name!r} has no property {rest!r}", hint)
        return None
    return draft, found


def _draft(name: str, drafts: Sequence[Draft]) -> Draft | None:
    for draft in drafts:
        if draft.name == name:
            return draft
    return next((d for d in drafts if d.table == name), None)


def _by_ids(at: Node, text: str, drafts: Sequence[Draft]) -> tuple[Draft, Property] | None:
    """Resolve `[file.yaml#]schema/<id>/properties/<id>`; the file must be one of those loaded."""
    file, has_file, path = text.rpartition("#")
    parts = path.strip("/").split("/")
    candidates = [
        d
        for d in drafts
        if (Path(d.node.source.file).name == Path(file).name)
        or (not has_file and d.node.source is at.source)
    ]
    if has_file and not candidates:
        at.report(
            "DANGLING_RELATIONSHIP",
            f"the file {file!r} is not part of this contract",
            "put both files into one folder, and load the folder",
        )
        return None
    if len(parts) == 4 and parts[0] == "schema" and parts[2] == "properties":
        for draft in candidates:
            if draft.node.text("id") == parts[1]:
                for declared in draft.declared:
                    if declared.node.text("id") == parts[3]:
                        return draft, declared.property
    at.report(
        "DANGLING_RELATIONSHIP",
        f"no element has the ids in {path!r}",
        "write type.property by names, or schema/ID/properties/ID by ids",
    )
    return None
