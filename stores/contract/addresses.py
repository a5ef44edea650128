"""Addresses of other products' contracts, as relationships name them. Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_SHORT = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)\.([A-Za-z_][A-Za-z0-9_-]*)\Z")
_BY_IDS = re.compile(r"/?schema/([A-Za-z0-9_-]+)/properties/([A-Za-z0-9_-]+)\Z")


def is_foreign(to: object) -> bool:
    """Return whether the `to` of a relationship names another product's contract."""
    return isinstance(to, str) and to.lower().startswith(("http://", "https://"))


def split_address(to: str) -> tuple[str, str, str] | None:
    """Return the contract, type and property of an address, or None if it is not one or holds
    credentials, which would show in a schema. Addresses are
    `https://geo.example/contract#city.geonameid` or the standard's longer form
    `https://geo.example/contract.yaml#schema/city/properties/geonameid`."""
    contract, _, target = to.partition("#")
    found = _SHORT.match(target) or _BY_IDS.match(target)
    try:
        parts = urlsplit(contract)
    except ValueError:
        return None
    if found is None or not parts.hostname or "@" in parts.netloc:
        return None
    return contract, found[1], found[2]
