"""The parts of reading children that the document stores share."""

from __future__ import annotations

from stores.contract.model import Property, RecordType
from stores.errors import StoreRefused
from stores.query import ChildrenQuery


def properties_of(record_type: RecordType, query: ChildrenQuery, store: str) -> list[Property]:
    """Return the properties by which children are found. Raise StoreRefused for an unknown one."""
    try:
        return [record_type.by_name[name] for name in query.properties]
    except KeyError as error:
        raise StoreRefused(
            f"{store}: {query.type} has no property {error.args[0]!r}", store=store
        ) from None
