"""Finds what each store needs so that it holds what the contract says now: nothing, or a load of a
type. It reads what is recorded in canonical, so the stores need not be reached."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from stores.canonical.connect import Connection
from stores.contract.model import Contract
from stores.roles import STORE_ROLES, StoreRole

_ACTIVE = """
SELECT sink, type, shape FROM recordgate.generations
WHERE state = 'active' AND sink IN (SELECT sink FROM recordgate.watermarks)
"""


@dataclass(frozen=True, slots=True)
class Need:
    """`what`: "reload" (the documents or the index change), "first load" (the type is new) or
    "drop" (the contract has it no more; it stays in the store, and nobody reads it)."""

    sink: str
    type: str
    what: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def text(self) -> str:
        match self.what:
            case "reload":
                return f"{self.sink}: {self.type} is reloaded; the old generation serves until then"
            case "first load":
                return f"{self.sink}: {self.type} is loaded for the first time"
        return (
            f"{self.sink}: {self.type} is no longer in the contract; the store keeps what it holds"
            " of it"
        )


def store_needs(conn: Connection, contract: Contract) -> list[Need]:
    """Return the needed loads by sink and type; none if no worker has run yet. The worker does
    them by itself when it starts with the contract."""
    row = conn.execute("SELECT to_regclass('recordgate.generations')").fetchone()
    if row is None or row[0] is None:
        return []
    active: dict[str, dict[str, str]] = {}
    for sink, type_name, shape in conn.execute(_ACTIVE).fetchall():
        active.setdefault(sink, {})[type_name] = shape
    found = []
    for sink, held in sorted(active.items()):
        fingerprint = STORE_ROLES[StoreRole(sink)].fingerprint
        for name in contract.types:
            if name not in held:
                found.append(Need(sink, name, "first load"))
            elif held[name] != fingerprint(contract, name):
                found.append(Need(sink, name, "reload"))
        found += [Need(sink, name, "drop") for name in held if name not in contract.types]
    return found
