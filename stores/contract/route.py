"""`route` of a type: `{prefer: [documents, canonical], index: [population, [countryCode, name]],
maxStaleness: 5s}`."""

from __future__ import annotations

from collections.abc import Mapping

from stores.contract.collect import seconds_of
from stores.contract.extensions import suggestion, unknown_key, wrong
from stores.contract.model import Property, Route
from stores.contract.node import Node
from stores.contract.options import OPTIONS, ROUTED_TO
from stores.exactness import Exact, exactness

MAX_INDEXES = 20
MAX_COLUMNS = 5
_HINT = "route: {prefer: [documents, canonical], index: [population, [countryCode, name]]}"


def route_value(at: Node | None, properties: Mapping[str, Property]) -> Route:
    """Return the route at `at`. Invalid entries are reported as findings and left out."""
    if at is None:
        return Route()
    if not isinstance(at.data, dict):
        wrong(at, "`route` must be a mapping", _HINT)
        return Route()
    prefer: tuple[str, ...] = ()
    index: tuple[tuple[str, ...], ...] = ()
    most: float | None = None
    for key, value in at.entries():
        if key == "prefer":
            prefer = _stores(value)
        elif key == "index":
            index = _indexes(value, properties)
        elif key == "maxStaleness":
            most = _seconds(value)
        else:
            unknown_key(value, "route", key, OPTIONS["route"])
    return Route(prefer, index, most)


def _stores(at: Node) -> tuple[str, ...]:
    if not isinstance(at.data, list) or not at.data:
        wrong(at, "`prefer` must be a list of stores", f"one or more of {', '.join(ROUTED_TO)}")
        return ()
    found: list[str] = []
    for entry in at:
        if entry.data not in ROUTED_TO:
            wrong(entry, f"no such store: {entry.data!r}", suggestion(str(entry.data), ROUTED_TO))
        elif entry.data in found:
            wrong(entry, f"{entry.data!r} is named twice")
        else:
            found.append(entry.data)
    return tuple(found)


def _indexes(at: Node, properties: Mapping[str, Property]) -> tuple[tuple[str, ...], ...]:
    if not isinstance(at.data, list) or len(at.data) > MAX_INDEXES:
        wrong(at, f"`index` must be a list of at most {MAX_INDEXES} indexes", _HINT)
        return ()
    found: list[tuple[str, ...]] = []
    for entry in at:
        names = [entry] if isinstance(entry.data, str) else list(entry)
        if not names or len(names) > MAX_COLUMNS:
            wrong(entry, f"an index is of 1 to {MAX_COLUMNS} properties", _HINT)
            continue
        columns = [n.data for n in names if _can_be_indexed(n, properties)]
        if len(set(columns)) < len(columns):
            wrong(entry, "an index names a property twice")
        elif len(columns) == len(names):
            found.append(tuple(columns))
    return tuple(dict.fromkeys(found))


def _can_be_indexed(at: Node, properties: Mapping[str, Property]) -> bool:
    prop = properties.get(at.data) if isinstance(at.data, str) else None
    if prop is None:
        wrong(at, f"no such property: {at.data!r}", suggestion(str(at.data), list(properties)))
        return False
    if exactness(prop, bytewise=True, plain_collation=True) < Exact.EQUAL:
        wrong(
            at,
            f"no store compares a {prop.sql_type} as canonical does: it cannot be indexed",
            "leave it out; lists by it are answered by canonical",
        )
        return False
    return True


def _seconds(at: Node) -> float | None:
    found = seconds_of(at.data)
    if found is None:
        wrong(at, "`maxStaleness` is a duration such as 500ms, 5s, 2m")
    return found
