"""Compares two contracts: each change either breaks somebody who uses the old one or is harmless.
Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from stores.contract.model import Contract, Property, RecordType, Relation, Scalar
from stores.contract.shape import document_shape, search_shape


@dataclass(frozen=True, slots=True)
class Difference:
    """`where`: the contract ("contract"), a type ("city"), or one of its members ("city.name")."""

    breaking: bool
    where: str
    message: str

    def __str__(self) -> str:
        return f"{'breaking' if self.breaking else 'harmless'}: {self.where}: {self.message}"


def compare(old: Contract, new: Contract) -> list[Difference]:
    """All differences that a caller, a role or a store can notice; breaking ones first."""
    found = list(_contract(old, new))
    for name in sorted(old.types.keys() | new.types.keys()):
        before, after = old.types.get(name), new.types.get(name)
        if after is None:
            found.append(Difference(True, name, "the type was removed"))
        elif before is None:
            found.append(Difference(False, name, "a new type"))
        else:
            found += _type(before, after)
            found += _reloads(old, new, name)
    return sorted(found, key=lambda d: not d.breaking)


def _contract(old: Contract, new: Contract) -> Iterator[Difference]:
    where = "contract"
    if old.id != new.id:
        yield Difference(
            True, where, f"id {old.id!r} is now {new.id!r}: its stores belong to the old id"
        )
    if old.managed != new.managed:
        who = "recordgate makes the tables" if new.managed else "the tables exist already"
        yield Difference(True, where, f"now {who}")
    for role in sorted(set(old.roles) - set(new.roles)):
        yield Difference(True, where, f"the role {role!r} was removed")
    for role in sorted(set(new.roles) - set(old.roles)):
        yield Difference(False, where, f"the role {role!r} was added")
    for name in sorted(old.sla.keys() | new.sla.keys()):
        before, after = old.sla.get(name), new.sla.get(name)
        if before == after:
            continue
        if before is None:
            yield Difference(False, where, f"promises a {name} of {after:g} s")
        elif after is None:
            yield Difference(True, where, f"no longer promises a {name} of {before:g} s")
        else:
            # To keep records longer is to promise more; all others promise less by a longer time.
            weaker = after < before if name == "retention" else after > before
            yield Difference(weaker, where, f"{name} of {before:g} s is now {after:g} s")


def _type(old: RecordType, new: RecordType) -> Iterator[Difference]:
    where = old.name
    for what in ("graphql", "single", "plural"):
        before, after = getattr(old, what), getattr(new, what)
        if before != after:
            yield Difference(True, where, f"the GraphQL name {before!r} is now {after!r}")
    if (old.schema, old.table) != (new.schema, new.table):
        yield Difference(
            True, where, f"the table {old.schema}.{old.table} is now {new.schema}.{new.table}"
        )
    if old.key != new.key:
        yield Difference(
            True, where, f"the key ({', '.join(old.key)}) is now ({', '.join(new.key)})"
        )
    for gone in sorted(old.expose.operations - new.expose.operations):
        yield Difference(True, where, f"no longer offers {gone}")
    for come in sorted(new.expose.operations - old.expose.operations):
        yield Difference(False, where, f"offers {come}")
    if old.expose.page_limit != new.expose.page_limit:
        yield Difference(
            new.expose.page_limit < old.expose.page_limit,
            where,
            f"the page limit {old.expose.page_limit} is now {new.expose.page_limit}",
        )
    yield from _may(where, dict(old.expose.roles), dict(new.expose.roles))
    yield from _by_role(where, "rows", dict(old.row_filter), dict(new.row_filter))
    for columns in _sets(new) - _sets(old):
        yield Difference(True, where, f"({', '.join(sorted(columns))}) must be unique together")
    for columns in _sets(old) - _sets(new):
        yield Difference(False, where, f"({', '.join(sorted(columns))}) may repeat")
    if old.generations != new.generations:
        yield Difference(
            False, where, f"keeps {new.generations} generations, not {old.generations}"
        )
    if old.vocabulary != new.vocabulary:
        yield Difference(False, where, "its synonyms or stop words have changed")
    if old.boost_by != new.boost_by:
        by = new.boost_by
        how = f"boosted by {by.property}, {by.weight:g}" if by else "no longer boosted"
        yield Difference(False, where, f"hits of its searches are {how}")
    if old.route != new.route:
        yield Difference(False, where, "its reads are routed otherwise, or by other indexes")
    yield from _members(old, new)


def _sets(record_type: RecordType) -> set[frozenset[str]]:
    return {frozenset(columns) for columns in record_type.unique_together}


def _members(old: RecordType, new: RecordType) -> Iterator[Difference]:
    for name in _both(old.by_name, new.by_name):
        where = f"{old.name}.{name}"
        before, after = old.by_name.get(name), new.by_name.get(name)
        if after is None:
            yield Difference(True, where, "the property was removed")
        elif before is None:
            yield Difference(
                after.required,
                where,
                "a new property, which writers must give" if after.required else "a new property",
            )
        else:
            yield from _property(where, before, after)
    for name in _both(old.relation_by_name, new.relation_by_name):
        where = f"{old.name}.{name}"
        was, now = old.relation_by_name.get(name), new.relation_by_name.get(name)
        if now is None:
            yield Difference(True, where, "the relation was removed")
        elif was is None:
            yield Difference(False, where, "a new relation")
        else:
            yield from _relation(where, was, now)


def _both(old: Iterable[str], new: Iterable[str]) -> list[str]:
    return list(dict.fromkeys((*old, *new)))


def _relation(where: str, old: Relation, new: Relation) -> Iterator[Difference]:
    if old.target != new.target:
        yield Difference(True, where, f"leads to {new.target!r}, not {old.target!r}")
    if old.many != new.many:
        yield Difference(True, where, "to many, not to one" if new.many else "to one, not to many")
    if (old.columns, old.target_columns) != (new.columns, new.target_columns):
        yield Difference(True, where, "joins by other columns")


_WIDER = {"smallint": 1, "integer": 2, "bigint": 3, "real": 1, "double precision": 2}


def _property(where: str, old: Property, new: Property) -> Iterator[Difference]:
    if old.graphql != new.graphql:
        yield Difference(True, where, f"the GraphQL name {old.graphql!r} is now {new.graphql!r}")
    if old.column != new.column:
        yield Difference(True, where, f"the column {old.column!r} is now {new.column!r}")
    if (old.scalar, old.array) != (new.scalar, new.array):
        yield Difference(True, where, f"the type {old.sql_type} is now {new.sql_type}")
    elif old.sql_type != new.sql_type:
        yield Difference(
            not _holds(old.sql_type, new.sql_type),
            where,
            f"the type {old.sql_type} is now {new.sql_type}",
        )
    if old.required != new.required:
        yield Difference(
            True, where, "must be given" if new.required else "is optional: readers may get null"
        )
    if old.unique != new.unique:
        yield Difference(new.unique, where, "must be unique" if new.unique else "may repeat")
    if old.generated != new.generated:
        yield Difference(
            new.generated,
            where,
            "is computed and can no longer be written" if new.generated else "can be written",
        )
    yield from _limits(where, old, new)
    yield from _by_role(where, "the value", dict(old.masking), dict(new.masking))
    if old.partial != new.partial:
        yield Difference(True, where, "a different part of the value is shown")
    yield from _read_roles(where, old.read_roles, new.read_roles)
    yield from _search(where, old, new)


def _holds(old: str, new: str) -> bool:
    """Return whether every value of the type `old` is one of the type `new`."""
    if _WIDER.get(old.removesuffix("[]"), 9) <= _WIDER.get(new.removesuffix("[]"), 0):
        return True
    if new.removesuffix("[]") in ("text", "character varying", "numeric"):
        return True
    before, after = _numbers(old), _numbers(new)
    if old.partition("(")[0] != new.partition("(")[0] or len(before) != len(after):
        return False
    if len(before) == 2:
        return after[1] >= before[1] and after[0] - after[1] >= before[0] - before[1]
    return all(b <= a for b, a in zip(before, after, strict=True))


def _numbers(sql_type: str) -> list[int]:
    inside = sql_type.partition("(")[2].partition(")")[0]
    return [int(n) for n in inside.split(",") if n.strip().isdigit()]


_LOWER = (
    ("min_length", "minLength"), ("minimum", "minimum"), ("exclusive_minimum",
    "exclusiveMinimum",
))  # fmt: skip
_UPPER = (
    ("max_length", "maxLength"), ("maximum", "maximum"), ("exclusive_maximum",
    "exclusiveMaximum",
))  # fmt: skip


def _limits(where: str, old: Property, new: Property) -> Iterator[Difference]:
    gone, come = set(old.enum) - set(new.enum), set(new.enum) - set(old.enum)
    if old.enum and not new.enum:
        yield Difference(False, where, "may have any value, not only those of its former enum")
    elif new.enum and not old.enum:
        yield Difference(True, where, f"must be one of {', '.join(new.enum)}")
    else:
        if gone:
            yield Difference(True, where, f"may no longer be {', '.join(sorted(gone))}")
        if come:
            yield Difference(False, where, f"may be {', '.join(sorted(come))} too")
    for field, key in (*_LOWER, *_UPPER):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            lower = (field, key) in _LOWER
            tighter = before is None or (after is not None and _tighter(before, after, lower, old))
            yield Difference(tighter, where, f"{key} {_said(before)} is now {_said(after)}")
    for field, key in (("pattern", "pattern"), ("multiple_of", "multipleOf")):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            yield Difference(
                after is not None, where, f"{key} {_said(before)} is now {_said(after)}"
            )


def _said(value: Any) -> str:
    return "none" if value is None else str(value)


def _tighter(before: Any, after: Any, lower: bool, prop: Property) -> bool:
    if prop.scalar in (Scalar.INT, Scalar.BIGINT, Scalar.FLOAT, Scalar.DECIMAL, Scalar.STRING):
        before, after = Decimal(str(before)), Decimal(str(after))
    return bool(after > before if lower else after < before)


def _may(
    where: str, old: dict[str, tuple[str, ...]], new: dict[str, tuple[str, ...]]
) -> Iterator[Difference]:
    """`expose.roles`: an operation that is not there is for all."""
    for operation in sorted(old.keys() | new.keys()):
        before, after = old.get(operation), new.get(operation)
        if after is None:
            yield Difference(False, where, f"{operation} is allowed to every role")
        elif before is None:
            yield Difference(True, where, f"{operation} is for {', '.join(after) or 'nobody'} only")
        else:
            for gone in sorted(set(before) - set(after)):
                yield Difference(True, where, f"{operation} is no longer for {gone}")
            for come in sorted(set(after) - set(before)):
                yield Difference(False, where, f"{operation} is for {come}")


def _by_role(
    where: str, what: str, old: dict[str, Any], new: dict[str, Any]
) -> Iterator[Difference]:
    for role in sorted(old.keys() | new.keys()):
        if role not in new:
            yield Difference(False, where, f"{role} sees {what} in full")
        elif role not in old:
            yield Difference(True, where, f"{role} no longer sees {what} in full")
        elif old[role] != new[role]:
            yield Difference(True, where, f"the mask of {what} for {role} has changed")


def _read_roles(
    where: str, old: tuple[str, ...] | None, new: tuple[str, ...] | None
) -> Iterator[Difference]:
    if old == new:
        return
    if new is None:
        yield Difference(False, where, "every role may see it")
    elif old is None:
        yield Difference(True, where, f"only {', '.join(new) or 'nobody'} may see it")
    else:
        for role in sorted(set(old) - set(new)):
            yield Difference(True, where, f"{role} may no longer see it")
        for role in sorted(set(new) - set(old)):
            yield Difference(False, where, f"{role} may see it")


def _search(where: str, old: Property, new: Property) -> Iterator[Difference]:
    for option in ("text", "facet", "sort", "suggest"):
        before, after = getattr(old.search, option), getattr(new.search, option)
        if before != after:
            yield Difference(before, where, f"search {option}: {'on' if after else 'off'}")
    if old.search.analyzer != new.search.analyzer:
        yield Difference(False, where, f"search analyzer: {new.search.analyzer}")
    if old.search.boost != new.search.boost:
        yield Difference(False, where, f"search boost: {new.search.boost:g}")
    if (old.search.forgive, old.search.forgive_from) != (
        new.search.forgive,
        new.search.forgive_from,
    ):
        how = f"from {new.search.forgive_from} characters" if new.search.forgive else "never"
        yield Difference(False, where, f"misspelled words are forgiven {how}")


def _reloads(old: Contract, new: Contract, name: str) -> Iterator[Difference]:
    if document_shape(old, name) != document_shape(new, name):
        yield Difference(False, name, "its documents and its search index are reloaded")
    elif search_shape(old, name) != search_shape(new, name):
        yield Difference(False, name, "its search index is loaded anew")
