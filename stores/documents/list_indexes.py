"""The indexes of lists that the document stores keep of a type, from the contract. Pure."""

from __future__ import annotations

from stores.contract.model import RecordType
from stores.exactness import Exact, exactness


def list_indexes(record_type: RecordType) -> list[tuple[str, ...]]:
    """Property names of each index, in order: that of the key, and those that `route` names, each
    with the key at its end so that it gives a whole order. None of a property that no store
    compares as canonical does."""
    if "list" not in record_type.expose.operations:
        return []
    key = tuple(p.name for p in record_type.key_properties)
    found: dict[tuple[str, ...], None] = {}
    for names in ((), *record_type.route.index):
        whole = (*names, *(n for n in key if n not in names))
        if all(_ordered(record_type, n) for n in whole):
            found[whole] = None
    return list(found)


def _ordered(record_type: RecordType, name: str) -> bool:
    prop = record_type.by_name[name]
    return exactness(prop, bytewise=True, plain_collation=True) >= Exact.EQUAL
