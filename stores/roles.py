"""The roles of stores. A role is also the name of the store's sink, of its setting and of the route
in an answer.

The differences between roles are one row each in `STORE_ROLES`; whoever works with stores of any
role reads them there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from stores.contract.model import Contract, RecordType
from stores.contract.shape import document_shape, search_shape


class StoreRole(StrEnum):
    DOCUMENTS = "documents"
    SEARCH = "search"


@dataclass(frozen=True, slots=True)
class RoleTraits:
    """`fingerprint` is that of what decides a generation's content. `operation` is the one that a
    store of the role can answer without canonical, and `every_type` says that it can for each type,
    not for the searchable ones alone. `letter` stands for the role in an ETag."""

    fingerprint: Callable[[Contract, str], str]
    operation: str
    every_type: bool
    letter: str

    def answers(self, record_type: RecordType) -> bool:
        """Return whether the contract exposes what a store of the role can answer of a type."""
        possible = self.every_type or record_type.searchable
        return possible and self.operation in record_type.expose.operations

    def needed(self, record_type: RecordType) -> bool:
        """Return whether operations of a type ask a store of the role at all."""
        return self.every_type or self.answers(record_type)


STORE_ROLES: dict[StoreRole, RoleTraits] = {
    StoreRole.DOCUMENTS: RoleTraits(document_shape, "get", every_type=True, letter="d"),
    StoreRole.SEARCH: RoleTraits(search_shape, "search", every_type=False, letter="s"),
}
