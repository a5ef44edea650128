"""The visibility of data for a viewer: of a property its plain value, a mask or nothing; of a type
some rows. Pure.

- A role sees a property plainly unless `masking` names the role (then in that form) or `readRoles`
leaves it out (then not at all). A viewer sees the best that one of the roles gives; a viewer
without a role sees no restricted property.

- `rowFilter` of a type: a role that it names sees the rows of its filter, a role that it does not
name sees all; a viewer sees what any of the roles sees, and without a role no row.

- `expose.roles` names the roles that may do an operation with a type's records. A relation is
followed only by those who may `list` (to one: `get`) the records it leads to.

- Whatever is not plain can neither be filtered, ordered, grouped, aggregated nor searched by, and a
relation over such a column is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stores.contract.model import Contract, Masking, Property, RecordType, Relation, Scalar
from stores.errors import ForbiddenError


class Form(StrEnum):
    """The form in which a viewer sees a value, from the best to the least."""

    PLAIN = "plain"
    PARTIAL = "partial"
    HASH = "hash"
    NULL = "null"


_RANK = {form: rank for rank, form in enumerate(Form)}
_FORMS = {
    Masking.NULL: Form.NULL,
    Masking.HASH: Form.HASH,
    Masking.PARTIAL: Form.PARTIAL,
    Masking.DROP: Form.NULL,
}


_WORDS = {
    "get": "read", "list": "list", "aggregate": "aggregate", "search": "search", "export": "export",
    "create": "create", "upsert": "create or change", "update": "change", "delete": "delete",
    "deleteMany": "delete",
}  # fmt: skip


def non_null(prop: Property) -> bool:
    """Return whether the property's field is non-null: a required one is, unless it can be hidden
    from a viewer or read as missing (NaN and the infinities of a float)."""
    return prop.required and not prop.restricted and prop.scalar is not Scalar.FLOAT


@dataclass(frozen=True, slots=True)
class Visibility:
    """The visibility for a viewer with `roles`."""

    contract: Contract
    roles: frozenset[str] = frozenset()

    def form(self, prop: Property) -> Form:
        if not prop.restricted:
            return Form.PLAIN
        masking = dict(prop.masking)
        best = Form.NULL
        for role in self.roles:
            if role in masking:
                form = _FORMS[masking[role]]
            elif prop.read_roles is None or role in prop.read_roles:
                form = Form.PLAIN
            else:
                form = Form.NULL
            best = min(best, form, key=_RANK.__getitem__)
        return best

    def may(self, record_type: RecordType, operation: str) -> bool:
        """Return whether one of the roles permits the operation; whether the contract offers it at
        all is another question."""
        roles = next((roles for name, roles in record_type.expose.roles if name == operation), None)
        return roles is None or not self.roles.isdisjoint(roles)

    def require_may(self, record_type: RecordType, operation: str) -> None:
        """Raise ForbiddenError where none of the roles may do `operation`."""
        if not self.may(record_type, operation):
            raise ForbiddenError(f"you may not {_WORDS[operation]} {record_type.plural}")

    def require_plain(self, prop: Property, what: str) -> None:
        """Raise ForbiddenError where `what` (filter, order, …) would tell a value that is not
        shown."""
        if self.form(prop) is not Form.PLAIN:
            raise ForbiddenError(f"you may not {what} by {prop.graphql}")

    def require_open(self, record_type: RecordType, relation: Relation) -> None:
        """Raise ForbiddenError where following `relation` would tell a value that is not shown."""
        target = self.contract.types[relation.target]
        if not self.may(target, "list" if relation.many else "get"):
            raise ForbiddenError(f"you may not follow {relation.graphql} of {record_type.graphql}")
        ends = [record_type.by_column.get(c) for c in relation.columns]
        ends += [target.by_column.get(c) for c in relation.target_columns]
        if any(p is not None and self.form(p) is not Form.PLAIN for p in ends):
            raise ForbiddenError(f"you may not follow {relation.graphql} of {record_type.graphql}")

    def is_open(self, record_type: RecordType, relation: Relation) -> bool:
        try:
            self.require_open(record_type, relation)
        except ForbiddenError:
            return False
        return True

    def row_filters(self, record_type: RecordType) -> tuple[Any, ...] | None:
        """The row filters of which one must hold, in the contract's form; None where all rows are
        seen. Empty: no row is."""
        if not record_type.row_filter:
            return None
        filters = dict(record_type.row_filter)
        if any(role not in filters for role in self.roles):
            return None
        return tuple(filters[role] for role in sorted(self.roles))
