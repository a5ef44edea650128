"""Contract files as data → one resolved `Contract`, with a finding for everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stores.contract import names
from stores.contract.boosts import boost_by_value
from stores.contract.collect import collect_value
from stores.contract.draft import Draft
from stores.contract.embeds import resolve_embeds
from stores.contract.extensions import (
    MAX_GENERATIONS,
    Access,
    expose_value,
    extensions,
    flag_value,
    text_value,
    whole_value,
)
from stores.contract.findings import Findings
from stores.contract.kept_changes import kept_changes_value
from stores.contract.model import Contract, Property, RecordType, Scalar
from stores.contract.node import Node
from stores.contract.promises import SEVERITIES, graver_or_equal
from stores.contract.properties import Declared, resolve_property
from stores.contract.quality import check_quality
from stores.contract.relations import resolve_relations
from stores.contract.route import route_value
from stores.contract.row_filters import resolve_row_filters
from stores.contract.rules import resolve_rules
from stores.contract.sla import Element, resolve_objectives, strictest
from stores.contract.vocabulary import vocabulary_value
from stores.contract.yaml_source import YamlSource

_NO_KEY = frozenset((Scalar.FLOAT, Scalar.JSON, Scalar.BYTES))
_OWN_SCHEMAS = ("recordgate", "information_schema")


@dataclass(frozen=True, slots=True)
class Defaults:
    """The values that a file sets for all its types."""

    managed: bool
    schema: str


def resolve(sources: Sequence[YamlSource], findings: Findings, source: str) -> Contract:
    """Return one contract of all `sources`. It is usable only if `findings` has no error."""
    roots = [Node(s, (), s.data, findings) for s in sources]
    access = Access(
        tuple(dict.fromkeys(r.text("role") for root in roots for r in root.items("roles")))
    )
    for root in roots:
        _distinct(root.items("roles"), "role", "the role")
    defaults = [_defaults(root) for root in roots]
    drafts: list[Draft] = []
    for root, default in zip(roots, defaults, strict=True):
        if root.get("schema").data in (None, []):
            root.get("schema").report(
                "EMPTY_SCHEMA",
                "the contract has no schema objects",
                "describe a table under `schema`",
                at_key=True,
            )
        for node in root.items("schema"):
            draft = _draft(node, default, access)
            if draft is not None:
                drafts.append(draft)
    if len({d.managed for d in defaults}) > 1:
        roots[-1].report("MIXED_CONTRACTS", "`managed` differs between the files of this folder")
    _names_are_free(drafts)
    resolve_relations(drafts)
    by_name = {d.name: d for d in drafts}
    types = {d.name: _finish(d, by_name, access) for d in drafts}
    elements = [
        Element(d.name, d.table, frozenset(p.property.name for p in d.declared)) for d in drafts
    ]
    objectives = tuple(o for root in roots for o in resolve_objectives(root, elements))
    return Contract(
        id=_joined(roots, "id", "+"),
        name=_joined(roots, "name", ", ") or _joined(roots, "id", "+"),
        version=_joined(roots, "version", "+"),
        types=types,
        roles=access.roles,
        read_only_roles=_read_only(roots),
        sla=strictest(objectives),
        objectives=objectives,
        source=source,
        description=" ".join(
            dict.fromkeys(t for r in roots if (t := r.get("description").text("purpose").strip()))
        ),
        owner=", ".join(dict.fromkeys(t for root in roots if (t := _owner(root)))),
        managed=all(d.managed for d in defaults),
    )


def _owner(root: Node) -> str:
    """Return who answers for the product: the team's name, else its members that are called owners,
    else the domain."""
    team = root.get("team")
    named = team.text("name")
    if named:
        return named
    members = list(team) if isinstance(team.data, list) else team.items("members")
    owners = [
        m.text("name") or m.text("username") for m in members if "owner" in m.text("role").lower()
    ]
    return ", ".join(filter(None, owners)) or root.text("domain")


def _read_only(roots: Sequence[Node]) -> tuple[str, ...]:
    """Roles that `access` gives reading only."""
    return tuple(
        dict.fromkeys(
            entry.text("role")
            for root in roots
            for entry in root.items("roles")
            if entry.text("access").lower() in ("read", "read-only", "readonly")
        )
    )


def _joined(roots: Sequence[Node], key: str, glue: str) -> str:
    return glue.join(dict.fromkeys(t for root in roots if (t := root.text(key))))


def _defaults(root: Node) -> Defaults:
    found = extensions(root, "contract")
    managed = flag_value(found, "managed", True)
    schema = text_value(found, "schema") or "public"
    problem = names.physical_problem(schema)
    if schema in _OWN_SCHEMAS or schema.startswith("pg_"):
        problem = "is reserved for recordgate or Postgres"
    if problem and "schema" in found:
        found["schema"].report("RESERVED_NAME", f"the schema {schema!r} {problem}")
    return Defaults(managed, schema)


def _draft(node: Node, default: Defaults, access: Access) -> Draft | None:
    """Return a schema object's own part: names, properties and key."""
    name = node.text("name")
    if not name:
        return None  # the JSON schema has said so
    found = extensions(node, "schema")
    at_name = node.get("name")
    problem = names.contract_name_problem(name)
    if problem:
        at_name.report(
            "BAD_NAME",
            f"the type name {name!r} {problem}",
            "name it in ASCII letters; `physicalName` may hold the table's name",
        )
        return None
    schema, table = _table(node, name, default)
    single, plural = names.single_and_plural(
        name, text_value(found, "singular"), text_value(found, "plural")
    )
    for key, value in (("singular", single), ("plural", plural)):
        if not names.GRAPHQL_NAME.match(value):
            found.get(key, at_name).report("BAD_NAME", f"`{key}` {value!r} has no GraphQL form")
    properties = node.items("properties")
    if not properties:
        at_name.report("EMPTY_SCHEMA", f"{name!r} has no properties", "describe its columns")
    declared = [
        d for p in properties if (d := resolve_property(p, access, managed=default.managed))
    ]
    check_quality(node)
    for prop in properties:
        check_quality(prop)
        check_quality(prop.get("items"))
    draft = Draft(
        node=node,
        name=name,
        schema=schema,
        table=table,
        graphql=names.pascal(single if names.GRAPHQL_NAME.match(single) else name),
        single=single,
        plural=plural,
        declared=declared,
        extensions=found,
    )
    _distinct(properties, "name", "the property")
    _distinct(properties, "id", "the id", code="DUPLICATE_ID", fold=False)
    _properties_are_free(draft)
    draft.key = _key(draft, properties)
    draft.unique_together = list(_unique_sets(draft))
    draft.rules = resolve_rules(draft)
    return draft


def _table(node: Node, name: str, default: Defaults) -> tuple[str, str]:
    """Schema and table of a type."""
    text = node.text("physicalName")
    at = node.get("physicalName") if text else node.get("name")
    schema, table = default.schema, text or (names.snake(name) if default.managed else name)
    if text and not default.managed:
        split = names.split_table(text)
        if split is None:
            at.report(
                "BAD_NAME",
                f"{text!r} is not a table name",
                'write table, schema.table or "a.b"."c.d"',
            )
            return schema, table
        schema, table = split[0] or schema, split[1]
    elif "." in table:
        at.report(
            "BAD_NAME",
            f"the table name {table!r} has a dot",
            "write the schema as a custom property",
        )
    for what, value in (("schema", schema), ("table", table)):
        problem = names.physical_problem(value)
        if problem:
            at.report(
                "BAD_NAME", f"the {what} name {value!r} {problem}", "choose another `physicalName`"
            )
    if (schema in _OWN_SCHEMAS and schema != default.schema) or table.startswith("pg_"):
        at.report("RESERVED_NAME", f"{schema}.{table} is reserved for recordgate or Postgres")
    return schema, table


def _distinct(
    nodes: Sequence[Node], key: str, what: str, code: str = "DUPLICATE_NAME", fold: bool = True
) -> None:
    seen: dict[str, int] = {}
    for node in nodes:
        text = node.text(key)
        folded = text.lower() if fold else text
        if text and folded in seen:
            node.get(key).report(
                code, f"{what} {text!r} is already declared at line {seen[folded]}"
            )
        elif text:
            seen[folded] = node.get(key).place.line


def _properties_are_free(draft: Draft) -> None:
    """Report properties of a type that share a column or a GraphQL name, or have a reserved
    name."""
    columns: dict[str, str] = {}
    graphql: dict[str, str] = {}
    alone = sum(d.primary for d in draft.declared) == 1
    for declared in draft.declared:
        prop, node = declared.property, declared.node
        at = node.get("name")
        if prop.graphql == "id" and not (declared.primary and alone):
            at.report(
                "RESERVED_NAME",
                f"{prop.name!r} is not the key of {draft.name!r}, but the name `id` is"
                " reserved for the key",
                "rename the property; `physicalName: id` keeps the column",
            )
        if prop.graphql in names.RESERVED_FIELDS:
            at.report(
                "RESERVED_NAME",
                f"{prop.name!r} has the GraphQL name {prop.graphql!r}, which is reserved",
                "rename the property; `physicalName` keeps the column",
            )
        for seen, value, what in (
            (columns, prop.column, "the column"),  # Postgres tells letter cases apart
            (graphql, prop.graphql.lower(), "the GraphQL name"),
        ):
            other = seen.setdefault(value, prop.name)
            if other.lower() != prop.name.lower():
                at.report("DUPLICATE_NAME", f"{what} {value!r} is also that of {other!r}")


def _key(draft: Draft, properties: Sequence[Node]) -> tuple[str, ...]:
    """The columns of the primary key, in order."""
    primary = [d for d in draft.declared if d.primary]
    if not any(p.flag("primaryKey") for p in properties):
        if properties:
            draft.node.get("name").report(
                "NO_PRIMARY_KEY",
                f"{draft.name!r} has no primary key",
                "mark the properties that identify a record with `primaryKey: true`",
            )
        return ()
    positions: dict[int, str] = {}
    for declared in primary:
        prop = declared.property
        at = declared.node.get("primaryKey")
        if prop.array or prop.scalar in _NO_KEY:
            at.report("BAD_KEY", f"{prop.name}: {prop.sql_type} cannot be a key", at_key=True)
        elif prop.sql_type == "numeric":
            at.report(
                "BAD_KEY",
                f"{prop.name}: numeric without a scale cannot be a key, 1.0 and 1.00 would be one",
                "use numeric(p,s)",
                at_key=True,
            )
        if declared.node.get("required").data is False:
            declared.node.get("required").report(
                "BAD_KEY", f"{prop.name} is part of the key and must be required", at_key=True
            )
        if declared.position > 0:
            other = positions.setdefault(declared.position, prop.name)
            if other != prop.name:
                declared.node.get("primaryKeyPosition").report(
                    "BAD_KEY",
                    f"position {declared.position} is also that of {other!r}",
                    at_key=True,
                )
    last = len(primary) + 1
    ordered = sorted(primary, key=lambda d: d.position if d.position > 0 else last)
    return tuple(d.property.column for d in ordered)


def _unique_sets(draft: Draft) -> Iterator[tuple[str, ...]]:
    """Sets of columns that are unique together: quality rules `duplicateValues` of the type."""
    for rule in draft.node.items("quality"):
        if rule.text("metric") != "duplicateValues" or rule.get("mustBe").data != 0:
            continue
        columns: list[str] = []
        for at in rule.get("arguments").get("properties"):
            found = draft.property(at.data) if isinstance(at.data, str) else None
            if found is None:
                at.report("UNKNOWN_RELATION", f"{draft.name!r} has no property {at.data!r}")
            elif found.column not in columns:
                columns.append(found.column)
        if len(columns) == 1:
            draft.node.report(
                "BAD_KEY", "for a single property, write `unique: true`", severity="warning"
            )
        elif columns:
            yield tuple(columns)


def _names_are_free(drafts: list[Draft]) -> None:
    """Report types that share a name, a table or a generated GraphQL name, and drop the later
    one."""
    seen: dict[tuple[str, str], str] = {}
    for draft in list(drafts):
        at = draft.node.get("name")
        reserved = [t for t in (draft.graphql,) if t in names.RESERVED_TYPES]
        reserved += [f for f in (draft.single, draft.plural) if f in names.RESERVED_ROOTS]
        if reserved:
            at.report(
                "RESERVED_NAME",
                f"the GraphQL name {reserved[0]!r} is reserved",
                "choose another name",
            )
        claims = [
            ("name", draft.name.lower(), "the name"),
            ("table", f"{draft.schema}.{draft.table}", "the table"),
            *(
                (space, value, f"the GraphQL {space}")
                for space, value in sorted(
                    names.generated_names(draft.graphql, draft.single, draft.plural)
                )
            ),
        ]
        for space, value, what in claims:
            other = seen.setdefault((space, value), draft.name)
            if other is not draft.name:
                at.report("DUPLICATE_NAME", f"{what} {value!r} is also that of {other!r}")
                drafts.remove(draft)
                break


def _finish(draft: Draft, drafts: dict[str, Draft], access: Access) -> RecordType:
    at = draft.extensions.get("generations")
    embeds = resolve_embeds(draft, drafts)
    return RecordType(
        name=draft.name,
        schema=draft.schema,
        table=draft.table,
        graphql=draft.graphql,
        single=draft.single,
        plural=draft.plural,
        properties=tuple(_own(d) for d in draft.declared),
        key=draft.key,
        relations=tuple(draft.relations),
        foreign=tuple(draft.foreign),
        embeds=embeds,
        unique_together=tuple(draft.unique_together),
        expose=expose_value(draft.extensions.get("expose"), access),
        row_filter=resolve_row_filters(draft, drafts, access),
        generations=whole_value(at, "generations", 1, MAX_GENERATIONS, 2) if at else 2,
        vocabulary=vocabulary_value(draft.extensions.get("search")),
        boost_by=boost_by_value(
            draft.extensions.get("boostBy"), {d.property.name: d.property for d in draft.declared}
        ),
        route=route_value(
            draft.extensions.get("route"), {d.property.name: d.property for d in draft.declared}
        ),
        collect=collect_value(
            draft.extensions.get("collect"), {d.property.name: d for d in draft.declared}
        ),
        changes=kept_changes_value(draft, drafts, embeds),
        description=draft.node.text("description"),
        rules=draft.rules,
        gate=_gate(draft),
    )


def _gate(draft: Draft) -> str:
    at = draft.extensions.get("gate")
    if at is None:
        return ""
    if at.data not in SEVERITIES:
        at.report("BAD_EXTENSION", "`gate` must be a severity", f"one of {', '.join(SEVERITIES)}")
        return ""
    if not any(graver_or_equal(rule.severity, at.data) for rule in draft.rules):
        at.report(
            "NOT_MEASURED",
            f"no rule of {draft.name!r} is of severity {at.data} or graver: the gate is open",
            "declare one under `quality`",
            severity="warning",
        )
    return str(at.data)


def _own(declared: Declared) -> Property:
    return declared.property
