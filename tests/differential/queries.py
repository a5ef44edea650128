"""Random queries over any contract: a query is made of a seed, so that a failing one can be made
again."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.schema.scalars import SCALARS
from gateway.shape.filters import operations
from gateway.shape.names import field_of
from gateway.shape.orders import Direction, orderable
from stores.contract.model import Contract, Property, RecordType, Scalar
from stores.patterns import IGNORING_CASE, REGULAR
from stores.query import Op

PLACE = "<size and cursor>"


@dataclass(frozen=True)
class Enum:
    """A name, which GraphQL writes without quotes."""

    name: str


def literal(value: Any) -> str:
    """`value` as GraphQL writes it."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(literal, value)) + "]"
    return json.dumps(value)


def plain(value: Any) -> Any:
    """`value` as a variable."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def without(filter: dict[str, Any], name: str) -> dict[str, Any]:
    """`filter` without the conditions that are about the field `name` alone: what its facet counts
    by."""
    left: dict[str, Any] = {}
    for key, inner in filter.items():
        if key == "and":
            parts = [found for part in inner if (found := without(part, name))]
            left |= {key: parts} if parts else {}
        elif key == name or (key in ("or", "not") and set(_fields(inner)) == {name}):
            continue
        else:
            left[key] = inner
    return left


def _fields(filter: Any) -> list[str]:
    parts = filter if isinstance(filter, list) else [filter]
    found = []
    for part in parts:
        for key, inner in part.items():
            found += _fields(inner) if key in ("and", "or", "not") else [key]
    return found


@dataclass
class Maker:
    """Makes queries over `contract`. `values`: operands by scalar name; `keys`: ids by type
    name."""

    contract: Contract
    values: Mapping[str, Sequence[Any]]
    keys: Mapping[str, Sequence[str]]
    chance: random.Random

    def maybe(self, likely: float) -> bool:
        return self.chance.random() < likely

    # Selections ---------------------------------------------------------------------------------

    def record(self, record_type: RecordType, depth: int) -> str:
        """Fields of a record, with aliases here and there."""
        names = ["id", "nodeId", "__typename"] + [
            field_of(record_type, p) for p in record_type.properties
        ]
        fields = [
            f"again_{name}: {name}" if self.maybe(0.1) else name
            for name in self.chance.sample(names, self.chance.randint(1, min(8, len(names))))
        ]
        for relation in record_type.relations:
            if depth and self.maybe(0.5):
                target = self.contract.types[relation.target]
                if relation.many:
                    plain_page = self.maybe(0.7)
                    arguments = f"(first: {self.chance.choice((0, 1, 2, 50))})"
                    if not plain_page:
                        arguments = self.page_arguments(target)
                    below = self.connection(target, depth - 1)
                    fields.append(f"{relation.graphql}{arguments} {below}")
                else:
                    fields.append(f"{relation.graphql} {self.record(target, depth - 1)}")
        return "{ " + " ".join(fields) + " }"

    def connection(self, record_type: RecordType, depth: int) -> str:
        parts = [f"nodes {self.record(record_type, depth)}"]
        if self.maybe(0.3):
            parts.append(f"edges {{ cursor node {self.record(record_type, 0)} }}")
        if self.maybe(0.3):
            parts.append("pageInfo { hasNextPage hasPreviousPage startCursor endCursor }")
        if self.maybe(0.3):
            parts.append("totalCount")
        self.chance.shuffle(parts)
        return "{ " + " ".join(parts) + " }"

    def page_arguments(self, record_type: RecordType) -> str:
        given = {"first": self.chance.choice((1, 3, 100))}
        if self.maybe(0.2):
            given = {"last": self.chance.choice((1, 3))}
        arguments = [f"{k}: {v}" for k, v in given.items()]
        if self.maybe(0.6):
            arguments.append(f"filter: {literal(self.filter(record_type, 2))}")
        if self.maybe(0.6):
            arguments.append(f"orderBy: {literal(self.order(record_type))}")
        return "(" + ", ".join(arguments) + ")"

    # Filters and orders -------------------------------------------------------------------------

    def filter(self, record_type: RecordType, depth: int, related: bool = True) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self.chance.choice((1, 1, 1, 2))):
            kind = self.chance.random()
            if depth and kind < 0.15:
                found["or"] = self._several(record_type, depth, related)
            elif depth and kind < 0.25:
                found["and"] = self._several(record_type, depth, related)
            elif depth and kind < 0.4:
                found["not"] = self.filter(record_type, depth - 1, related)
            elif depth and related and kind < 0.55 and record_type.relations:
                relation = self.chance.choice(record_type.relations)
                target = self.contract.types[relation.target]
                found[relation.graphql] = self.filter(target, depth - 1)
            else:
                prop = self.chance.choice([p for p in record_type.properties if operations(p)])
                found[field_of(record_type, prop)] = self.comparison(prop)
        return found

    def _several(self, record_type: RecordType, depth: int, related: bool) -> list[dict[str, Any]]:
        count = self.chance.choice((0, 1, 2, 2, 3))
        return [self.filter(record_type, depth - 1, related) for _ in range(count)]

    def comparison(self, prop: Property) -> dict[str, Any]:
        op = self.chance.choice(operations(prop))
        values = self.values[SCALARS[prop.scalar].name] if prop.scalar is not Scalar.JSON else ()
        if op is Op.IS_NULL:
            return {op.value: self.maybe(0.5)}
        if op in (Op.IN, Op.NOT_IN):
            return {
                op.value: [self.chance.choice(values) for _ in range(self.chance.randint(0, 3))]
            }
        operand = self.chance.choice(values)
        if op in REGULAR:
            operand = self.pattern(operand)
        elif op in (Op.CONTAINS, Op.STARTS_WITH, Op.ENDS_WITH, *IGNORING_CASE) and not prop.array:
            operand = operand[: self.chance.choice((0, 1, 2, 5000))]
        return {op.value: operand}

    def pattern(self, text: str) -> str:
        """Make a pattern of some signs of `text`; now and then one that is none."""
        parts = []
        for char in text[:4]:
            plain_sign = char if char.isalnum() or not char.isascii() else f"\\{char}"
            forms = (
                plain_sign,
                ".",
                f"[{plain_sign}b-d]",
                f"({plain_sign}|b)",
                f"[^{plain_sign}]",
                "\\w",
            )
            part = self.chance.choice(forms)
            parts.append(part + self.chance.choice(("", "", "", "*", "+", "?", "{1,2}")))
        found = "".join(parts)
        if self.maybe(0.05):
            return found + self.chance.choice(("(", "[", "\\", "*", "**", "(?=a)"))
        return self.chance.choice(("", "^")) + found + self.chance.choice(("", "$"))

    def order(self, record_type: RecordType, depth: int = 1) -> list[dict[str, Any]]:
        return [self._step(record_type, depth) for _ in range(self.chance.choice((1, 1, 2)))]

    def _step(self, record_type: RecordType, depth: int) -> dict[str, Any]:
        ones = [r for r in record_type.relations if not r.many]
        if depth and ones and self.maybe(0.2):
            relation = self.chance.choice(ones)
            return {relation.graphql: self._step(self.contract.types[relation.target], depth - 1)}
        prop = self.chance.choice([p for p in record_type.properties if orderable(p)])
        return {field_of(record_type, prop): self.direction()}

    def direction(self) -> Enum:
        return Enum(self.chance.choice(list(Direction)).name)

    # Whole queries ------------------------------------------------------------------------------

    def read(self) -> tuple[str, dict[str, Any]]:
        """One record by its key, and what is around it."""
        record_type = self.chance.choice(list(self.contract.types.values()))
        key = self.chance.choice(self.keys[record_type.name])
        if self.maybe(0.1):
            key = self.chance.choice((f"0{key}", f"{key} ", key.upper(), "+7", "7.0", "none", ""))
        below = self.record(record_type, 2)
        if self.maybe(0.2):
            node = f"{record_type.graphql}:{key}"
            inline = f"... on {record_type.graphql} {below}"
            return f"query ($id: ID!) {{ found: node(id: $id) {{ {inline} }} }}", {"id": node}
        if self.maybe(0.5):
            return f"query ($id: ID!) {{ found: {record_type.single}(id: $id) {below} }}", {
                "id": key
            }
        return f"{{ found: {record_type.single}(id: {literal(key)}) {below} }}", {}

    def count(self) -> str:
        """A count of what a filter holds of, or of all."""
        record_type = self.chance.choice(list(self.contract.types.values()))
        given = ""
        if self.maybe(0.8):
            given = f"(filter: {literal(self.filter(record_type, self.chance.choice((0, 3))))})"
        shown = self.chance.choice(
            ("count", "n: count kind: __typename", "count avg { __typename }")
        )
        if shown.startswith("count avg") and record_type.name != "thing":
            shown = "count"
        return f"{{ found: {record_type.plural}Aggregate{given} {{ {shown} }} }}"

    def page(self) -> tuple[str, str]:
        """A list with cursors, and what pages on from a cursor: `PLACE` stands for the size and
        cursor."""
        record_type = self.chance.choice(list(self.contract.types.values()))
        arguments = []
        if self.maybe(0.7):
            simple = self.maybe(0.5)
            found = self.filter(record_type, 0 if simple else 3, related=not simple)
            arguments.append(f"filter: {literal(found)}")
        if self.maybe(0.8):
            arguments.append(f"orderBy: {literal(self.order(record_type))}")
        parts = [
            "edges { cursor }",
            "pageInfo { hasNextPage hasPreviousPage startCursor endCursor }",
        ]
        if self.maybe(0.8):
            parts.append(f"nodes {self.record(record_type, 1 if self.maybe(0.3) else 0)}")
        if self.maybe(0.4):
            parts.append("totalCount")
        self.chance.shuffle(parts)
        given = ", ".join([*arguments, PLACE])
        first = self.chance.choice(("first", "first", "last"))
        size = self.chance.choice((0, 1, 2, 7, 50, 1000))
        return (
            f"{{ found: {record_type.plural}({given}) {{ {' '.join(parts)} }} }}",
            f"{first}: {size}",
        )

    def search(self) -> tuple[str, str, dict[str, Any]]:
        """A search by filter, sort and facets, and what asks canonical the same; with their
        variables."""
        types = [t for t in self.contract.types.values() if t.searchable]
        record_type = self.chance.choice(types)
        upper = record_type.plural[:1].upper() + record_type.plural[1:]
        # NaN is missing to a search, and greater than any number to canonical.
        sorts = [
            p for p in record_type.properties if p.search.sort and p.scalar is not Scalar.FLOAT
        ]
        facets = [p for p in record_type.properties if p.search.facet and not p.array]
        order: list[dict[str, Any]] = []
        if self.maybe(0.7):
            order = [
                {field_of(record_type, p): self.direction()}
                for p in self.chance.sample(sorts, self.chance.choice((1, 1, 2)))
            ]
        facet = field_of(record_type, self.chance.choice(facets))
        filter = plain(self.filter(record_type, 3))
        many = {
            f'"{r.graphql}"' for t in self.contract.types.values() for r in t.relations if r.many
        }
        while self.maybe(0.9) and any(name in json.dumps(filter) for name in many):
            filter = plain(self.filter(record_type, 3))  # to-many relations are canonical's only
        variables = {
            "filter": filter,
            "around": without(filter, facet) or None,
            "sort": plain(order),
            "order": plain(order),
        }
        name = record_type.graphql
        ours = (
            f"query ($filter: {name}Filter!, $sort: [{name}SearchOrderBy!]!) {{ found: search{upper}("
            f'query: "", filter: $filter, sort: $sort, facets: [{facet}], first: 1000)'
            f" {{ totalCount nodes {{ id }} facets {{ buckets {{ value count }} }} }} }}"
        )
        theirs = (
            f"query ($filter: {name}Filter!, $around: {name}Filter, $order: [{name}OrderBy!]!)"
            f" {{ found: {record_type.plural}("
            f"filter: $filter, orderBy: $order, first: 1000) {{ totalCount nodes {{ id }} }}"
            f" counted: {record_type.plural}Aggregate(filter: $around, groupBy: [{facet}], first: 1000)"
            f" {{ count group {{ value: {facet} }} }} }}"
        )
        return ours, theirs, variables
