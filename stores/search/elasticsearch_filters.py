"""Filters as Elasticsearch queries, with SQL's meaning, or the reason why a filter cannot be kept.

A comparison is true, false or, where the value is missing, neither; `Not` is true only where its part is
false. So each filter is compiled twice over: where it holds, and where it is false.
"""

from __future__ import annotations

from typing import Any

from stores.contract.model import Scalar
from stores.query import And, Compare, Filter, Not, Op, Or, Related
from stores.search.elasticsearch_fields import NULLS, Field, Level, value_mark
from stores.search.tantivy_values import TWIN_BYTES, Kind, operand

MAX_BOUND = 200
"""Characters of a text bound: no twin that short is cut, so the order is exact."""
MAX_PART = 100
"""Characters of a part of a text."""
MAX_VALUES = 10_000
Query = dict[str, Any]
EVERYTHING: Query = {"match_all": {}}
NOTHING: Query = {"match_none": {}}


class CannotFilter(Exception):
    """The store cannot apply the filter with canonical's meaning; the text says why."""


class Compiled:
    """`query`, and the marks that an index must have for it, each with the path it is about."""

    def __init__(self, level: Level, filter: Filter) -> None:
        """Raises CannotFilter."""
        self.marks: dict[str, str] = {}
        self.query = self._where(level, filter, True)

    def _where(self, level: Level, filter: Filter, holds: bool) -> Query:
        match filter:
            case And(parts=parts) | Or(parts=parts):
                queries = [self._where(level, part, holds) for part in parts]
                return every(queries) if isinstance(filter, And) == holds else any_of(queries)
            case Not(part=part):
                return self._where(level, part, not holds)
            case Related(relation=name, filter=part):
                sub = level.find((name,))
                if sub is None:
                    raise CannotFilter(f"{name} is not inside the search documents")
                there = every([_not(self._missing(sub.path)), self._where(sub, part, True)])
                # "There is a related record that …" is true or false, never neither.
                return there if holds else _not(there)
            case Compare():
                return self._compare(level, filter, holds)

    def _missing(self, path: str) -> Query:
        self.marks[path] = path
        return {"term": {NULLS: path}}

    def _compare(self, level: Level, compare: Compare, holds: bool) -> Query:
        field = level.field(compare.property)
        if field is None:
            raise CannotFilter(f"{compare.property} is not a property of {level.record_type.name}")
        missing = self._missing(field.path)
        if compare.op is Op.IS_NULL:
            return missing if bool(compare.value) == holds else _not(missing)
        positive, negated = _POSITIVE.get(compare.op, (compare.op, False))
        query = _matching(field, positive, compare.value)
        self.marks[value_mark(field)] = field.path
        return query if holds != negated else _not(any_of([query, missing]))


_POSITIVE = {Op.NEQ: (Op.EQ, True), Op.NOT_IN: (Op.IN, True)}


def _matching(field: Field, op: Op, value: Any) -> Query:
    """Where the comparison holds; it is false for every other value that is not missing."""
    prop, kind = field.prop, field.kind
    if kind is None:
        raise CannotFilter(f"{prop.name} is not indexed: {prop.sql_type} is not compared here")
    if not field.valued:
        raise CannotFilter(f"{prop.name} is a list that is searched by its words only")
    if prop.array and op is not Op.CONTAINS:
        raise CannotFilter(f"{prop.name} is a list: only contains and isNull are answered here")
    if op is Op.IN:
        if not value or len(value) > MAX_VALUES:
            raise CannotFilter(f"a list of 1 to {MAX_VALUES} values is answered here")
        return {"terms": {field.value: [twin(field, v) for v in value]}}
    if op in (Op.CONTAINS, Op.STARTS_WITH) and not prop.array:
        return _pattern(field, value, start=op is Op.STARTS_WITH)
    bound = twin(field, value)
    if op is Op.EQ or prop.array:
        return {"term": {field.value: bound}}
    if kind is Kind.BOOL:
        raise CannotFilter(f"{prop.name} is true or false: it has no order here")
    if kind is Kind.TEXT and len(bound) > MAX_BOUND:
        raise CannotFilter(f"a text bound has at most {MAX_BOUND} characters here")
    return {"range": {field.value: {op.value: bound}}}


def _pattern(field: Field, text: Any, *, start: bool) -> Query:
    prop = field.prop
    if prop.scalar is not Scalar.STRING:
        raise CannotFilter(f"{prop.name} is not text")
    if not isinstance(text, str):
        raise CannotFilter(f"{prop.name}: the value is not of the property's type")
    if len(text) > MAX_PART:
        raise CannotFilter(f"a part of a text has at most {MAX_PART} characters here")
    if start:
        return {"prefix": {field.value: {"value": text}}}
    if not prop.enum and (prop.max_length or TWIN_BYTES) * 4 > TWIN_BYTES:
        raise CannotFilter(f"{prop.name} may be longer than what is compared here")
    escaped = "".join(f"\\{c}" if c in "*?\\" else c for c in text)
    return {"wildcard": {field.value: {"value": f"*{escaped}*"}}}


def twin(field: Field, value: Any) -> Any:
    """The operand as the index holds it. Raises CannotFilter."""
    try:
        found = operand(field.prop, value)
        return found + 0.0 if field.kind is Kind.FLOAT else found
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CannotFilter(f"{field.prop.name}: {error}") from None


def every(queries: list[Query]) -> Query:
    if not queries:
        return EVERYTHING
    return queries[0] if len(queries) == 1 else {"bool": {"filter": queries}}


def any_of(queries: list[Query]) -> Query:
    if not queries:
        return NOTHING
    if len(queries) == 1:
        return queries[0]
    return {"bool": {"should": queries, "minimum_should_match": 1}}


def _not(query: Query) -> Query:
    return {"bool": {"must_not": [query]}}
