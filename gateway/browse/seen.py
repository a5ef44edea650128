"""A record type as pages show it to a viewer: what they may do with it, and the fields whose values
they may see. Pure: everything else is decided by the queries that the page's data come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gateway.shape.filters import operations
from gateway.shape.names import enum_name, field_of, search_field
from gateway.shape.orders import orderable
from gateway.shape.visibility import Form, Visibility
from stores.contract.model import Property, RecordType, Relation, Scalar
from stores.query import Op

_LABELS = ("name", "title", "label", "displayName", "fullName")
_TYPED = (
    Op.EQ, Op.NEQ, Op.GT, Op.GTE, Op.LT, Op.LTE, Op.CONTAINS, Op.STARTS_WITH, Op.IS_NULL,
)  # fmt: skip
"""The comparisons whose operand is typed as one value."""


@dataclass(frozen=True)
class Seen:
    """A record type as one viewer sees it."""

    type: RecordType
    visibility: Visibility

    def may(self, operation: str) -> bool:
        return operation in self.type.expose.operations and self.visibility.may(
            self.type, operation
        )

    @property
    def may_search(self) -> bool:
        return self.type.searchable and self.may("search")

    @property
    def search_field(self) -> str:
        return search_field(self.type)

    @property
    def listed(self) -> bool:
        """Return whether there is a page of its records."""
        return self.may("list") or self.may_search

    def name(self, prop: Property) -> str:
        return field_of(self.type, prop)

    @cached_property
    def shown(self) -> tuple[Property, ...]:
        """Properties of which at least a mask is seen, those of the key first."""
        seen = [p for p in self.type.properties if self.visibility.form(p) is not Form.NULL]
        key = [p for p in self.type.key_properties if p in seen]
        return (*key, *(p for p in seen if p not in key))

    @cached_property
    def columns(self) -> tuple[Property, ...]:
        """The same in the order of a table: after the key what says which record it is, and last
        what is long."""

        def place(prop: Property) -> int:
            if prop in self.type.key_properties:
                return 0
            if self.name(prop) == self.label:
                return 1
            return 3 if prop.array or prop.scalar in (Scalar.JSON, Scalar.BYTES) else 2

        return tuple(sorted(self.shown, key=place))

    @cached_property
    def plain(self) -> tuple[Property, ...]:
        """Properties whose very values are seen: by others nothing is filtered or ordered."""
        return tuple(p for p in self.shown if self.visibility.form(p) is Form.PLAIN)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields that a query selects of a record: `id` first."""
        return tuple(dict.fromkeys(("id", *(self.name(p) for p in self.shown))))

    @cached_property
    def comparisons(self) -> dict[str, tuple[Op, ...]]:
        """Field → how its values can be compared with a value that is typed in."""
        found = {self.name(p): tuple(o for o in operations(p) if o in _TYPED) for p in self.plain}
        return {name: ops for name, ops in found.items() if ops}

    def prop(self, field: str) -> Property | None:
        """Return the property of a field by which the viewer may filter, or None."""
        return next((p for p in self.plain if self.name(p) == field), None)

    def sortable(self, *, searching: bool) -> tuple[str, ...]:
        """Return the fields to order by."""
        return tuple(
            self.name(p) for p in self.plain if (p.search.sort if searching else orderable(p))
        )

    @cached_property
    def facets(self) -> tuple[str, ...]:
        """Fields whose values are counted beside the records."""
        if not self.may_search:
            return ()
        return tuple(self.name(p) for p in self.plain if p.search.facet)

    def facet_enum(self, field: str) -> str:
        return enum_name(field)

    @cached_property
    def label(self) -> str:
        """The field that says best which record it is."""
        texts = [p for p in self.plain if p.scalar is Scalar.STRING and not p.array]
        for wanted in _LABELS:
            if any(self.name(p) == wanted for p in texts):
                return wanted
        key = self.type.key_properties
        words = [p for p in texts if p.search.text and p not in key]
        return self.name(words[0]) if words else "id"

    def relations(self) -> list[tuple[Relation, Seen]]:
        """Return the relations that the viewer may follow, with what they lead to."""
        return [
            (r, Seen(self.visibility.contract.types[r.target], self.visibility))
            for r in self.type.relations
            if self.visibility.is_open(self.type, r)
        ]

    def leads_to(self, prop: Property) -> Seen | None:
        """Return the type whose records' keys are this property's values, where the viewer may read
        them one by one, or None."""
        if prop.array:
            return None
        for relation, target in self.relations():
            if (
                relation.owner
                and relation.columns == (prop.column,)
                and relation.target_columns == target.type.key
                and target.may("get")
            ):
                return target
        return None


def seen_types(visibility: Visibility) -> list[Seen]:
    """Return the types of which the viewer may see records, in the contract's order."""
    found = [Seen(t, visibility) for t in visibility.contract.types.values()]
    return [s for s in found if s.listed or s.may("get")]
