"""A record type while it is being resolved: its own properties are known, its relations not yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from stores.contract.model import ForeignRelation, Property, Relation
from stores.contract.node import Node
from stores.contract.promises import Rule
from stores.contract.properties import Declared


@dataclass(slots=True)
class Draft:
    node: Node
    name: str
    schema: str
    table: str
    graphql: str
    single: str
    plural: str
    declared: list[Declared]
    extensions: dict[str, Node]
    key: tuple[str, ...] = ()
    """Columns of the primary key, in order."""
    unique_together: list[tuple[str, ...]] = field(default_factory=list)
    """Sets of columns."""
    relations: list[Relation] = field(default_factory=list)
    foreign: list[ForeignRelation] = field(default_factory=list)
    rules: tuple[Rule, ...] = ()

    def property(self, name: str) -> Property | None:
        """Return the property with this name in the contract, else the one with this column."""
        for d in self.declared:
            if d.property.name == name:
                return d.property
        for d in self.declared:
            if d.property.column == name:
                return d.property
        return None

    def by_column(self, column: str) -> Property:
        return next(d.property for d in self.declared if d.property.column == column)

    def taken(self, name: str) -> bool:
        """Return whether a property or relation has the name already, as such or in GraphQL."""
        lowered = name.lower()
        if lowered == "id":
            return True
        return any(
            lowered in (d.property.name.lower(), d.property.graphql.lower()) for d in self.declared
        ) or lowered in {
            *(r.name.lower() for r in self.relations),
            *(f.name.lower() for f in self.foreign),
        }

    def is_unique(self, columns: tuple[str, ...]) -> bool:
        """Return whether the columns, in any order, are the primary key or declared unique."""
        wanted = set(columns)
        if wanted == set(self.key):
            return True
        if len(columns) == 1 and self.by_column(columns[0]).unique:
            return True
        return any(wanted == set(columns_) for columns_ in self.unique_together)
