"""The indexes of a generation's collection, made before it is loaded, and the order that they
serve. Pure."""

from __future__ import annotations

from pymongo import ASCENDING, IndexModel

from stores.contract.model import RecordType
from stores.documents.mongodb.documents import foreign_keys, indexed

TOMBSTONES = "tombstones"
TOMBSTONE_SECONDS = 30 * 24 * 3600
"""The time for which a delete's version is remembered: much longer than any write can be on its
way."""


def path(name: str) -> str:
    """Return the path of a property in a stored document."""
    return f"doc.{name}"


def cannot_index(record_type: RecordType) -> str | None:
    """Return the first property that needs an index and whose name cannot be a path, or None."""
    return next(
        (n for n in indexed(record_type) if not n or n[0] == "$" or "." in n or "\0" in n), None
    )


def key_order(record_type: RecordType) -> list[tuple[str, int]]:
    """Numbers by value, text bytewise: MongoDB's own order of values, and canonical's."""
    return [(path(p.name), ASCENDING) for p in record_type.key_properties]


def index_models(record_type: RecordType) -> list[IndexModel]:
    """Tombstones by age, in an index that has nothing else; each foreign key followed by the key,
    so that one parent's children stand in it in order."""
    models = [
        IndexModel(
            [("at", ASCENDING)], name=TOMBSTONES, sparse=True, expireAfterSeconds=TOMBSTONE_SECONDS
        )
    ]
    for number, names in enumerate(foreign_keys(record_type)):
        own = [(path(n), ASCENDING) for n in names]
        rest = [step for step in key_order(record_type) if step not in own]
        models.append(IndexModel(own + rest, name=f"children_{number}"))
    return models
