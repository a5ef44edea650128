"""A contract as a drawing of its types and relations: as text, and as Mermaid's erDiagram. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stores.contract.model import Contract, Embed, Property, RecordType, Relation


def as_text(contract: Contract) -> str:
    """The types in the contract's order: each with its properties, then its relations as arrows."""
    head = f"{contract.name} {contract.version}".strip()
    lines = [f"{head}: {len(contract.types)} types"]
    for record_type in contract.types.values():
        lines += ["", *_type(contract, record_type)]
    return "\n".join(lines)


def _type(contract: Contract, record_type: RecordType) -> Iterator[str]:
    yield f"{record_type.name}  {record_type.schema}.{record_type.table}  {_fields(record_type)}"
    names = [_flat(p.name) for p in record_type.properties]
    wide = max(map(len, names), default=0)
    types = max((len(p.sql_type) for p in record_type.properties), default=0)
    for name, prop in zip(names, record_type.properties, strict=True):
        about = ", ".join(_about(record_type, prop))
        yield f"  {name:<{wide}}  {prop.sql_type:<{types}}  {about}".rstrip()
    for relation in record_type.relations:
        inside = ", embedded" if relation.name in _embedded(record_type) else ""
        yield f"  {relation.name} {_arrow(relation)} {relation.target}{inside}"
    for foreign in record_type.foreign:
        yield f"  {foreign.name} ··> {foreign.type} of {foreign.contract}"


def _fields(record_type: RecordType) -> str:
    return f"({record_type.single}, {record_type.plural})"


def _embedded(record_type: RecordType) -> set[str]:
    return {embed.relation for embed in record_type.embeds}


def _arrow(relation: Relation) -> str:
    """`──>` holds the foreign key, `<──` is held by the other; a fork is many."""
    if relation.owner:
        return "──>"
    return "──<" if relation.many else "<──"


def _about(record_type: RecordType, prop: Property) -> Iterator[str]:
    if prop.column in record_type.key:
        yield "key"
    elif prop.required:
        yield "required"
    if prop.unique:
        yield "unique"
    if prop.enum:
        shown = "|".join(_flat(v) for v in prop.enum[:6])
        yield f"one of {shown}{'|…' if len(prop.enum) > 6 else ''}"
    search = prop.search
    found = [w for w in ("text", "suggest", "facet", "sort") if getattr(search, w)]
    if found:
        yield f"search: {' '.join(found)}"
    if prop.restricted:
        yield "not for everybody"


def _flat(text: str) -> str:
    """Return the text on one line, whatever a value holds."""
    return "".join(c if c.isprintable() else "·" for c in text)


def as_mermaid(contract: Contract) -> str:
    """An erDiagram: crow's feet for many, a circle where there may be none. Records that are inside
    a document are said by a dotted line."""
    lines = ["erDiagram"]
    ids = _entity_names(contract)
    for record_type in contract.types.values():
        name = ids[record_type.name]
        lines.append(f'    {name}["{_quoted(record_type.name)}"] {{')
        for prop in record_type.properties:
            marks = ["PK"] if prop.column in record_type.key else []
            marks += ["FK"] if _is_foreign(record_type, prop) else []
            said = f" {', '.join(marks)}" if marks else ""
            lines.append(f"        {_word(prop.sql_type)} {_word(prop.name)}{said}")
        lines.append("    }")
    for record_type in contract.types.values():
        lines += [
            f"    {_line(contract, ids, record_type, relation)}"
            for relation in record_type.relations
            if relation.owner
        ]
    return "\n".join(lines)


def _line(contract: Contract, ids: dict[str, str], source: RecordType, relation: Relation) -> str:
    target = contract.types[relation.target]
    back = target.relation_by_name.get(relation.inverse)
    many = "}o" if back is None or back.many else "|o"
    one = "||" if relation.required else "o|"
    inside = _holds(source.embeds, relation.name) or _holds(target.embeds, relation.inverse)
    line = ".." if inside else "--"
    name = _quoted(relation.name)
    return f'{ids[source.name]} {many}{line}{one} {ids[target.name]} : "{name}"'


def _holds(embeds: tuple[Embed, ...], relation: str) -> bool:
    return any(embed.relation == relation for embed in embeds)


def _is_foreign(record_type: RecordType, prop: Property) -> bool:
    return any(r.owner and prop.column in r.columns for r in record_type.relations)


def _entity_names(contract: Contract) -> dict[str, str]:
    """A name for each type that Mermaid takes, whatever the type is named."""
    return {
        name: f"T_{name}" if re.fullmatch(r"[A-Za-z0-9_]+", name) else f"T{i}"
        for i, name in enumerate(contract.types)
    }


def _word(text: str) -> str:
    """One word of Mermaid's: letters, digits and _, the first a letter."""
    word = re.sub(r"[^A-Za-z0-9_]+", "_", text.replace("[]", "_array")).strip("_")
    return word if re.match(r"[A-Za-z]", word) else f"x_{word}"


def _quoted(text: str) -> str:
    return re.sub(r'["\\<>{}]', "'", _flat(text))
