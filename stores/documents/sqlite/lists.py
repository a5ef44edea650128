# ruff: noqa: S608 - names in these statements are row ids, digests and escaped JSON paths
"""Filtered and ordered pages as SQL over JSON documents, with canonical's meaning. Pure.

Each property has one expression, by which it is compared and indexed: of days and moments a text
that sorts, of decimals an integer (`stores.sort_texts`), of others the JSON value itself. A page
after a cursor is read as a few ranges of the order, one after the other, each of which an index
serves from its first row: `a = 1 AND b > 2`, then `a > 1`, then `a IS NULL`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stores.contract.model import Contract, Property, RecordType, Relation
from stores.documents.sqlite.tables import json_path, table
from stores.exactness import scaled
from stores.query import (
    EVERYTHING,
    And,
    Compare,
    Filter,
    ListQuery,
    Not,
    Op,
    Or,
    Order,
    Related,
    held,
)
from stores.sort_texts import (
    AFTER,
    BEFORE,
    GREATEST,
    LEAST,
    MOST_YEARS,
    NOT_A_NUMBER,
    TEMPORAL,
    in_document,
    scaled_integer,
    sort_text,
)

PRESENT = "document IS NOT NULL"
_LEAST = "-9223372036854775808"
"""No value is less; an index is entered at it, as it is not at `IS NOT NULL`."""
_SIGNS = {Op.EQ: "=", Op.NEQ: "<>", Op.GT: ">", Op.GTE: ">=", Op.LT: "<", Op.LTE: "<="}
_TOP = "\U0010ffff"


# Values and indexes ------------------------------------------------------------------------------


def expression(prop: Property, source: str = "document", path: Sequence[str] = ()) -> str:
    """Return what a property is compared by, at `path` of relations within the JSON `source`."""
    steps = "".join(json_path(name)[2:-1] for name in (*path, prop.name))
    value = f"json_extract({source}, '${steps}')"
    if prop.scalar in TEMPORAL:
        return _temporal(value)
    if scaled(prop) is not None:
        return (
            f"CASE {value} WHEN 'NaN' THEN {NOT_A_NUMBER}"
            f" ELSE CAST(replace({value}, '.', '') AS INTEGER) END"
        )
    return value


def _temporal(value: str) -> str:
    """`sort_text` as SQL."""
    year = f"CAST(substr({value}, 1, instr({value}, '-') - 1) AS INTEGER)"
    rest = f"substr({value}, instr({value}, '-'))"
    return (
        f"CASE WHEN substr({value}, 5, 1) = '-' AND substr({value}, -3) <> ' BC' THEN {value}"
        f" WHEN {value} = 'infinity' THEN '{GREATEST}' WHEN {value} = '-infinity' THEN '{LEAST}'"
        f" WHEN substr({value}, -3) = ' BC'"
        f" THEN '{BEFORE}' || printf('%07d', {MOST_YEARS} - {year}) || {rest}"
        f" WHEN {value} IS NOT NULL THEN '{AFTER}' || printf('%07d', {year}) || {rest} END"
    )


def operand(prop: Property, value: Any) -> Any:
    """A value, as a document has it, in the form of `expression`; None stays None."""
    if value is None:
        return None
    if prop.scalar in TEMPORAL:
        return sort_text(value)
    if scaled(prop) is not None:
        return scaled_integer(prop, value)[0]
    return int(value) if isinstance(value, bool) else value


def index_name(generation_id: int, record_type: RecordType, names: Sequence[str]) -> str:
    """The name of the index of lists over those properties. What it is made of is in it, so that
    one of another form is another index."""
    text = ", ".join(expression(record_type.by_name[n]) for n in names)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{table(generation_id)}_list_{digest}"


def index_prefix(generation_id: int) -> str:
    return f"{table(generation_id)}_list_"


def create_index(generation_id: int, record_type: RecordType, names: Sequence[str]) -> str:
    columns = ", ".join(expression(record_type.by_name[n]) for n in names)
    name = index_name(generation_id, record_type, names)
    return (
        f"CREATE INDEX IF NOT EXISTS {name} ON {table(generation_id)} ({columns}) WHERE {PRESENT}"
    )


# Filters -----------------------------------------------------------------------------------------


@dataclass
class Conditions:
    """Compiles filters; collects their parameters."""

    contract: Contract
    parameters: list[Any] = field(default_factory=list)
    _rows: int = 0

    def bind(self, value: Any) -> str:
        self.parameters.append(value)
        return f"?{len(self.parameters)}"

    def filter(
        self,
        record_type: RecordType,
        part: Filter,
        source: str = "document",
        path: tuple[str, ...] = (),
    ) -> str:
        if isinstance(part, And | Or):
            if not part.parts:
                return "1" if isinstance(part, And) else "0"
            several = [self.filter(record_type, p, source, path) for p in part.parts]
            return f"({(' AND ' if isinstance(part, And) else ' OR ').join(several)})"
        if isinstance(part, Not):
            return f"(({self.filter(record_type, part.part, source, path)}) IS NOT TRUE)"
        if isinstance(part, Related):
            return self._related(record_type, part, source, path)
        prop = record_type.by_name[part.property]
        return self.compare(prop, part, expression(prop, source, path))

    def _related(
        self, record_type: RecordType, part: Related, source: str, path: tuple[str, ...]
    ) -> str:
        relation: Relation = record_type.relation_by_name[part.relation]
        target = self.contract.types[relation.target]
        inside = (*path, relation.name)
        steps = "".join(json_path(name)[2:-1] for name in inside)
        if relation.many:
            self._rows += 1
            row = f"j{self._rows}"
            below = self.filter(target, part.filter, f"{row}.value")
            return f"EXISTS (SELECT 1 FROM json_each({source}, '${steps}') AS {row} WHERE {below})"
        there = f"json_type({source}, '${steps}') = 'object'"
        if part.filter == EVERYTHING:
            return f"({there})"
        return f"({there} AND {self.filter(target, part.filter, source, inside)})"

    def compare(self, prop: Property, part: Compare, value: str) -> str:
        op = part.op
        if op is Op.IS_NULL:
            return f"({value} IS {'' if part.value else 'NOT '}NULL)"
        if op in (Op.IN, Op.NOT_IN):
            return self._among(prop, op, part.value, value)
        given = in_document(prop, part.value)
        if op is Op.CONTAINS:
            return f"(instr({value}, {self.bind(given)}) > 0)"
        if op is Op.STARTS_WITH:
            return self._starts(value, given)
        if scaled(prop) is not None:
            return self._decimal(prop, op, given, value)
        return f"({value} {_SIGNS[op]} {self.bind(operand(prop, given))})"

    def _among(self, prop: Property, op: Op, values: Sequence[Any], value: str) -> str:
        given = [in_document(prop, v) for v in values]
        if scaled(prop) is not None:
            # What has more digits than the property can be none of its values.
            given = [v for v in given if scaled_integer(prop, v)[1]]
        if not given:
            return "0" if op is Op.IN else f"({value} IS NOT NULL)"
        among = ", ".join(self.bind(operand(prop, v)) for v in given)
        return f"({value} {'IN' if op is Op.IN else 'NOT IN'} ({among}))"

    def _decimal(self, prop: Property, op: Op, given: Any, value: str) -> str:
        whole, exact = scaled_integer(prop, given)
        if not exact:  # it stands between `whole` and the next: `>= given` is `> whole`
            if op is Op.EQ:
                return "0"
            if op is Op.NEQ:
                return f"({value} IS NOT NULL)"
            op = {Op.GTE: Op.GT, Op.LT: Op.LTE}.get(op, op)
        return f"({value} {_SIGNS[op]} {self.bind(whole)})"

    def _starts(self, value: str, prefix: str) -> str:
        """A range, which an index serves: from the prefix to the next text without it."""
        if not prefix:
            return f"({value} IS NOT NULL)"
        low = f"{value} >= {self.bind(prefix)}"
        short = prefix.rstrip(_TOP)
        if not short:
            return f"({low})"
        code = ord(short[-1]) + 1
        end = short[:-1] + chr(0xE000 if code == 0xD800 else code)
        return f"({low} AND {value} < {self.bind(end)})"


# Orders ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an order, resolved."""

    prop: Property
    expression: str
    descending: bool
    nulls_first: bool
    nullable: bool
    path: tuple[str, ...] = ()

    def reversed(self) -> Step:
        return replace(self, descending=not self.descending, nulls_first=not self.nulls_first)

    @property
    def text(self) -> str:
        way = " DESC" if self.descending else ""
        if self.nullable and self.nulls_first is self.descending:
            way += " NULLS FIRST" if self.nulls_first else " NULLS LAST"
        return self.expression + way


def steps_of(contract: Contract, record_type: RecordType, order: Sequence[Order]) -> list[Step]:
    found: list[Step] = []
    for step in order:
        here = record_type
        for name in step.path:
            here = contract.types[here.relation_by_name[name].target]
        prop = here.by_name[step.property]
        first = step.descending if step.nulls_first is None else step.nulls_first
        nullable = bool(step.path) or not (prop.required or prop.column in here.key)
        found.append(
            Step(
                prop,
                expression(prop, path=step.path),
                step.descending,
                first,
                nullable,
                step.path,
            )
        )
    return found


Range = tuple[list[str], list[Step]]
"""Conditions, and the steps by which what satisfies them is ordered."""


def ranges(
    steps: Sequence[Step],
    cursor: Sequence[Any] | None,
    conditions: Conditions,
    *,
    inclusive: bool = False,
) -> Iterator[Range]:
    """The parts of the order beyond `cursor` (None: all of it), in order. Where `inclusive`, the
    record at the cursor is the first."""
    if cursor is None:
        yield from _split(steps, [], list(steps))
        return
    equal: list[list[str]] = [[]]
    for step, value in zip(steps, cursor, strict=True):
        if value is None:
            equal.append([*equal[-1], f"{step.expression} IS NULL"])
        else:
            bound = conditions.bind(operand(step.prop, value))
            equal.append([*equal[-1], f"{step.expression} = {bound}"])
    if inclusive:
        yield equal[-1], []
    for place in reversed(range(len(steps))):
        step, value, before = steps[place], cursor[place], equal[place]
        rest = list(steps[place:])
        if value is None:
            if step.nulls_first:
                yield [*before, f"{step.expression} >= {_LEAST}"], rest
            continue
        sign = "<" if step.descending else ">"
        bound = conditions.bind(operand(step.prop, value))
        yield [*before, f"{step.expression} {sign} {bound}"], rest
        if step.nullable and not step.nulls_first:
            yield [*before, f"{step.expression} IS NULL"], list(steps[place + 1 :])


def _split(steps: Sequence[Step], before: list[str], rest: list[Step]) -> Iterator[Range]:
    """All of the order, with what is missing apart, so that one walk of an index gives each."""
    first = steps[0]
    if not first.nullable:
        yield before, rest
        return
    missing = [*before, f"{first.expression} IS NULL"], rest[1:]
    present = [*before, f"{first.expression} >= {_LEAST}"], rest
    yield from (missing, present) if first.nulls_first else (present, missing)


# Statements --------------------------------------------------------------------------------------

Statement = tuple[str, list[Any]]


@dataclass
class ListStatements:
    """The statements of one page."""

    contract: Contract
    record_type: RecordType
    generation_id: int
    query: ListQuery

    def pages(self) -> Iterator[Statement]:
        """Each gives documents; all of them, one after the other until there are enough, are the
        page in the direction that is read. The last parameter is how many are wanted."""
        query = self.query
        steps = self._steps()
        one = held(query.filter)
        if query.backward:
            steps, start, end = [s.reversed() for s in steps], query.before, query.after
        else:
            start, end = query.after, query.before
        back = [s.reversed() for s in steps]
        parts = self._ranges(steps, start)
        for number in range(parts):
            conditions = Conditions(self.contract)
            where = [self._filter(conditions)]
            if end is not None:
                where.append(self._any_of(ranges(back, end, conditions)))
            bounds, rest = list(ranges(steps, start, conditions))[number]
            order = ", ".join(s.text for s in rest if s.path or s.prop.name not in one) or "1"
            limit = f"?{len(conditions.parameters) + 1}"
            text = (
                f"SELECT document FROM {self._source()} WHERE"
                f" {' AND '.join([PRESENT, *where, *bounds])} ORDER BY {order} LIMIT {limit}"
            )
            yield text, conditions.parameters

    def _steps(self) -> list[Step]:
        return steps_of(self.contract, self.record_type, self.query.order)

    def _ranges(self, steps: Sequence[Step], cursor: Sequence[Any] | None) -> int:
        return sum(1 for _ in ranges(steps, cursor, Conditions(self.contract)))

    @staticmethod
    def _any_of(parts: Iterator[Range]) -> str:
        several = [f"({' AND '.join(bounds)})" for bounds, _ in parts]
        return f"({' OR '.join(several) or '0'})"

    def before(self) -> Iterator[Statement]:
        """Each gives a row where a record stands at `after` or before it."""
        return self._at_or_beyond([s.reversed() for s in self._steps()], self.query.after)

    def after(self) -> Iterator[Statement]:
        """Each gives a row where a record stands at `before` or after it."""
        return self._at_or_beyond(self._steps(), self.query.before)

    def _at_or_beyond(
        self, steps: Sequence[Step], edge: Sequence[Any] | None
    ) -> Iterator[Statement]:
        """The last parameter of each is how many rows are wanted."""
        assert edge is not None
        for number in range(self._ranges(steps, edge) + 1):
            conditions = Conditions(self.contract)
            where = [self._filter(conditions)]
            bounds = list(ranges(steps, edge, conditions, inclusive=True))[number][0]
            yield (
                f"SELECT 1 FROM {self._source()} WHERE"
                f" {' AND '.join([PRESENT, *where, *bounds])}"
                f" LIMIT ?{len(conditions.parameters) + 1}",
                conditions.parameters,
            )

    def count(self) -> Statement:
        conditions = Conditions(self.contract)
        where = self._filter(conditions)
        text = f"SELECT count(*) FROM {self._source()} WHERE {PRESENT} AND {where}"
        return text, conditions.parameters

    def _filter(self, conditions: Conditions) -> str:
        return conditions.filter(self.record_type, self.query.filter)

    def _source(self) -> str:
        if not self.query.index:
            return f"{table(self.generation_id)} NOT INDEXED"
        name = index_name(self.generation_id, self.record_type, self.query.index)
        return f"{table(self.generation_id)} INDEXED BY {name}"
