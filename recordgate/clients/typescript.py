"""Writes the types of a product's records, inputs and enums for TypeScript."""

from __future__ import annotations

import json
from collections.abc import Iterator

from graphql.type import GraphQLType

from recordgate.clients.model import ClientModel, Member, unwrapped

_SCALARS = {
    "Boolean": "boolean",
    "Int": "number",
    "Float": "number",
    "BigInt": "number | string",
    "JSON": "unknown",
}
"""GraphQL's name → what JSON has for it; every other scalar is a text."""
_OWN = frozenset({"any", "unknown", "never", "number", "string", "boolean", "object", "undefined"})


def typescript_types(model: ClientModel, title: str) -> str:
    """Return the module's text. Texts of the contract stand in comments that they cannot end, and
    names are those of GraphQL."""
    lines = [
        f"/** {comment(title)}: types made by `recordgate client typescript`. Do not edit. */",
        "",
    ]
    for name, values in model.enums.items():
        lines.append(f"export type {_name(name)} = {' | '.join(map(json.dumps, values))};")
    for name, members in model.inputs.items():
        lines += ["", f"export interface {_name(name)} {{", *_members(members, given=True), "}"]
    for record in model.records:
        if record.description:
            lines += ["", f"/** {comment(record.description)} */"]
        else:
            lines.append("")
        lines += [f"export interface {_name(record.name)} {{"]
        lines += [*_members(record.members, given=False), "}"]
    return "\n".join(lines) + "\n"


def _members(members: tuple[Member, ...], *, given: bool) -> Iterator[str]:
    for member in members:
        if member.description:
            yield f"  /** {comment(member.description)} */"
        optional = "?" if given and unwrapped(member.type)[0] else ""
        yield f"  {json.dumps(member.name)}{optional}: {_type(member.type)};"


def _type(found: GraphQLType) -> str:
    optional, items, name = unwrapped(found)
    if items is not None:
        text = f"Array<{_type(items)}>"
    elif name in ("ID", "String"):
        text = "string"
    elif name in _SCALARS:
        text = _SCALARS[name]
    else:
        text = _name(name) if _is_own(found) else "string"
    return f"{text} | null" if optional and text != "unknown" else text


def _is_own(found: GraphQLType) -> bool:
    from graphql import get_named_type, is_scalar_type

    return not is_scalar_type(get_named_type(found))


def _name(name: str) -> str:
    return f"{name}_" if name in _OWN else name


def comment(text: str) -> str:
    """Return a text that cannot end the comment it stands in."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown.encode("ascii", "backslashreplace").decode().replace("*/", "* /").strip()
