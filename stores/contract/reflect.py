"""`contract init`: tables that are there already → a contract in YAML that attaches to them.

Every name is decided here and written out, so that the contract reads the same on every machine.
What cannot be followed is left out, and a comment at the top says why.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from stores.contract import names
from stores.contract.catalog import ReflectedColumn, ReflectedTable, read_tables
from stores.contract.lint import lint_text
from stores.contract.model import Scalar
from stores.contract.naming import ascii_name, name_types
from stores.contract.types import FOREIGN_TYPE, parse_physical
from stores.errors import ContractError, SetupError

if TYPE_CHECKING:
    import psycopg

API_VERSION = "v3.2.0"
_WRAP = 100

_LOGICAL = {
    Scalar.STRING: "string", Scalar.UUID: "string", Scalar.BYTES: "string", Scalar.INT: "integer",
    Scalar.BIGINT: "integer", Scalar.FLOAT: "number", Scalar.DECIMAL: "number",
    Scalar.BOOLEAN: "boolean", Scalar.DATE: "date", Scalar.TIMESTAMP: "timestamp",
    Scalar.DATETIME: "timestamp", Scalar.TIME: "time", Scalar.JSON: "object",
}  # fmt: skip


@dataclass(slots=True)
class _Named:
    """A table with the names it gets in the contract."""

    table: ReflectedTable
    name: str
    single: str
    plural: str
    properties: dict[str, str] = field(default_factory=dict)
    """Column → property name, of the columns that are taken in."""


_SCHEMAS = """
SELECT DISTINCT n.nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema',
  'recordgate')
ORDER BY 1 LIMIT 10
"""


def contract_from_database(connection: psycopg.Connection[tuple[Any, ...]], schema: str) -> str:
    """The contract of the tables of `schema`, as YAML that the linter passes and that loads as
    attached. `connection` is one of `stores.canonical.connect`. Raises SetupError where the schema
    is not there, ContractError where nothing in it can be followed."""
    tables = read_tables(connection, schema)
    if tables is None:
        raise SetupError(
            f"the database has no schema {schema!r}",
            hint=_schema_hint(connection, "name one with --schema"),
        )
    row = connection.execute("SELECT current_database()").fetchone()
    database = str(row[0]) if row else "database"
    notes: list[str] = []
    chosen = [t for t in tables if not _obstacle(t, notes)]
    while True:
        text = _write(chosen, list(notes), database, schema) if chosen else ""
        refused = _refused(text, chosen, notes) if chosen else []
        if not refused:
            break
        chosen = [t for t in chosen if t.name not in refused]
    if not chosen:
        raise ContractError(
            f"no table in the schema {schema!r} can be followed: "
            + ("; ".join(notes[:3]) or "it has no tables"),
            hint="a table needs a primary key"
            if notes
            else _schema_hint(connection, "name another one with --schema"),
        )
    return text


def _schema_hint(connection: psycopg.Connection[tuple[Any, ...]], hint: str) -> str:
    """`hint` with the schemas that have tables."""
    found = [str(name) for (name,) in connection.execute(_SCHEMAS)]
    return f"{hint}: tables are in {', '.join(found)}" if found else hint


def _obstacle(table: ReflectedTable, notes: list[str]) -> bool:
    """Return whether a table must be left out, and add the reason to `notes`."""
    problem = table.obstacle
    if not problem and (wrong := names.physical_problem(table.name)):
        problem = f"its name {wrong}"
    for column in table.columns:
        if not problem and column.name in table.key:
            problem = _left_out(column) and f"its key column {column.name!r}: {_left_out(column)}"
    if problem:
        notes.append(f"{table.kind} {table.name!r}: {problem}")
    return bool(problem)


def _refused(text: str, chosen: list[ReflectedTable], notes: list[str]) -> list[str]:
    """Tables of the contract that our own linter refuses after all; notes why."""
    begins = _first_lines(text)
    refused: list[str] = []
    for finding in lint_text(text):
        if finding.severity != "error":
            continue
        place = bisect.bisect_right(begins, finding.line) - 1
        # A finding that belongs to no table would be ours: never hide it, never loop on it.
        if place < 0:
            raise ContractError(
                f"the generated contract is not valid: {finding}", hint=finding.hint
            )
        table = chosen[place]
        if table.name not in refused:
            refused.append(table.name)
            notes.append(f"{table.kind} {table.name!r}: {finding.message}")
    return refused


def _first_lines(text: str) -> list[int]:
    """The line, from 1, on which each of the contract's tables begins, in their order."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    tables = next(value for key, value in root.value if key.value == "schema")
    return [int(node.start_mark.line) + 1 for node in tables.value]


def _write(tables: Sequence[ReflectedTable], notes: list[str], database: str, schema: str) -> str:
    named = _name_tables(tables)
    by_table = {n.table.name: n for n in named}
    objects = [_object(n, by_table, schema, notes) for n in named]
    contract = {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": ascii_name(f"{database}-{schema}" if schema != "public" else database),
        "name": f"{database}, schema {schema}",
        "version": "1.0.0",
        "status": "draft",
        "customProperties": [_extension("managed", False), _extension("schema", schema)],
        "schema": objects,
    }
    body = yaml.safe_dump(contract, sort_keys=False, allow_unicode=True, width=_WRAP)
    return _head(notes) + body


def _head(notes: Sequence[str]) -> str:
    lines = [
        "Tables of a database to which recordgate attaches; it neither creates nor alters them."
    ]
    if notes:
        lines += ["Left out:", *(f"- {note}" for note in notes)]
    return "".join(f"# {_one_line(line)}\n" for line in lines)


def _one_line(text: str) -> str:
    return "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)


def _extension(name: str, value: Any) -> dict[str, Any]:
    return {"property": name, "vendor": "recordgate", "value": value}


def _physical_name(table: str) -> str:
    return f'"{table}"' if "." in table else table


def _name_tables(tables: Sequence[ReflectedTable]) -> list[_Named]:
    named = [
        _Named(table, *found)
        for table, found in zip(tables, name_types([t.name for t in tables]), strict=True)
    ]
    for one in named:
        one.properties = _name_columns(one.table)
    return named


def _name_columns(table: ReflectedTable) -> dict[str, str]:
    """Column → property name: the column's own where it can be one."""
    taken: set[str] = set()
    found: dict[str, str] = {}
    for column in table.columns:
        if _left_out(column):
            continue
        stem = ascii_name(column.name)
        reserved = names.camel(stem) in names.RESERVED_FIELDS or (
            names.camel(stem) == "id" and table.key != (column.name,)
        )
        if reserved:
            stem += "_value"
        name, n = stem, 2
        while {name.lower(), names.camel(name).lower()} & taken:
            name, n = f"{stem}{n}", n + 1
        taken |= {name.lower(), names.camel(name).lower()}
        found[column.name] = name
    return found


def _left_out(column: ReflectedColumn) -> str:
    """Return why a column cannot be taken in, or an empty string."""
    problem = names.physical_problem(column.name)
    if problem:
        return f"its name {problem}"
    physical = parse_physical(column.element) if column.array else None
    if physical and physical.scalar in (Scalar.BYTES, Scalar.JSON):
        return f"it is an array of {column.element}"
    whole = parse_physical(column.sql_type)
    known = whole is not None and whole.scalar is not None
    if not known and not FOREIGN_TYPE.fullmatch(column.sql_type):
        return f"its type is {column.sql_type}"
    return ""


def _object(
    named: _Named, by_table: dict[str, _Named], schema: str, notes: list[str]
) -> dict[str, Any]:
    table = named.table
    notes += [
        f"column {table.name}.{column.name!r}: {_left_out(column)}"
        for column in table.columns
        if column.name not in named.properties
    ]
    result: dict[str, Any] = {"name": named.name, "physicalName": _physical_name(table.name)}
    if table.comment:
        result["description"] = table.comment
    result["customProperties"] = [
        _extension("singular", named.single),
        _extension("plural", named.plural),
    ]
    together = [u for u in table.unique if len(u) > 1 and set(u) <= set(named.properties)]
    if together:
        result["quality"] = [
            {
                "metric": "duplicateValues",
                "mustBe": 0,
                "arguments": {"properties": [named.properties[c] for c in columns]},
            }
            for columns in together
        ]
    composite, single = _relationships(named, by_table, schema, notes)
    if composite:
        result["relationships"] = composite
    result["properties"] = [
        _property(named, column, single.get(column.name, []))
        for column in table.columns
        if column.name in named.properties
    ]
    return result


def _relationships(
    named: _Named, by_table: dict[str, _Named], schema: str, notes: list[str]
) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Relationships of several columns, and those of one column by its name."""
    composite: list[dict[str, Any]] = []
    single: dict[str, list[dict[str, Any]]] = {}
    seen: set[tuple[str, ...]] = set()
    for parts, columns, target_name in named.table.foreign_keys_of_parts:
        only = ", ".join(parts[:5]) + (" and others" if len(parts) > 5 else "")
        notes.append(
            f"foreign key {named.table.name}({', '.join(columns)}) to {target_name}: only the"
            f" partitions {only} have it"
        )
    for key in named.table.foreign_keys:
        target = by_table.get(key.table) if key.schema == schema else None
        where = f"foreign key {named.table.name}({', '.join(key.columns)})"
        if target is None:
            notes.append(f"{where}: {key.schema}.{key.table} is not in this contract")
            continue
        if not set(key.columns) <= set(named.properties):
            notes.append(f"{where}: its columns are not in this contract")
            continue
        if not _same_types(named.table, key.columns, target.table, key.target_columns):
            notes.append(f"{where}: its ends have different types")
            continue
        identity = (*key.columns, "→", key.table, *key.target_columns)
        if identity in seen:
            continue
        seen.add(identity)
        ends = [f"{target.name}.{target.properties[c]}" for c in key.target_columns]
        if len(key.columns) == 1:
            single.setdefault(key.columns[0], []).append({"to": ends[0]})
        else:
            mine = [f"{named.name}.{named.properties[c]}" for c in key.columns]
            composite.append({"from": mine, "to": ends})
    return composite, single


def _same_types(
    source: ReflectedTable,
    columns: Sequence[str],
    target: ReflectedTable,
    target_columns: Sequence[str],
) -> bool:
    mine = {c.name: c for c in source.columns}
    theirs = {c.name: c for c in target.columns}
    whole = (Scalar.INT, Scalar.BIGINT)
    for a, b in zip(columns, target_columns, strict=True):
        one, other = _scalar(mine[a]), _scalar(theirs[b])
        if one is not other and not (one in whole and other in whole):
            return False
    return True


def _scalar(column: ReflectedColumn) -> Scalar:
    physical = parse_physical(column.element if column.array else column.sql_type)
    return physical.scalar if physical and physical.scalar else Scalar.STRING


def _property(
    named: _Named, column: ReflectedColumn, relationships: list[dict[str, Any]]
) -> dict[str, Any]:
    name = named.properties[column.name]
    logical = _LOGICAL[_scalar(column)]
    result: dict[str, Any] = {"name": name}
    if name != column.name:
        result["physicalName"] = column.name
    result["logicalType"] = "array" if column.array else logical
    result["physicalType"] = column.sql_type
    labels = {"enum": [{"value": label} for label in column.labels]} if column.labels else {}
    if column.array:
        result["items"] = {
            "name": "item",
            "logicalType": logical,
            "physicalType": column.element,
            **labels,
        }
    else:
        result |= labels
    if column.name in named.table.key:
        result["primaryKey"] = True
        result["primaryKeyPosition"] = named.table.key.index(column.name) + 1
    if column.not_null:
        result["required"] = True
    if (column.name,) in named.table.unique:
        result["unique"] = True
    if column.comment:
        result["description"] = column.comment
    if relationships:
        result["relationships"] = relationships
    if column.computed:
        result["customProperties"] = [_extension("generated", True)]
    return result
