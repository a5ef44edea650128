"""The adapters of stores by URL scheme: one row per scheme, imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from stores.errors import SetupError
from stores.protocols import Store
from stores.roles import StoreRole


@dataclass(frozen=True, slots=True)
class Row:
    """`factory` is "module:function"; the function takes (url, data_dir) and opens nothing. `extra`
    is the optional extra that brings the driver, "" for none."""

    role: StoreRole
    factory: str
    extra: str = ""


REGISTRY: dict[str, Row] = {
    "tantivy": Row(StoreRole.SEARCH, "stores.search.tantivy.store:from_url"),
    "elasticsearch": Row(
        StoreRole.SEARCH, "stores.search.elasticsearch.store:from_url", "elasticsearch"
    ),
    "elasticsearch+https": Row(
        StoreRole.SEARCH, "stores.search.elasticsearch.store:from_url", "elasticsearch"
    ),
    "sqlite": Row(StoreRole.DOCUMENTS, "stores.documents.sqlite.store:from_url"),
    "mongodb": Row(StoreRole.DOCUMENTS, "stores.documents.mongodb.store:from_url", "mongodb"),
    "mongodb+srv": Row(StoreRole.DOCUMENTS, "stores.documents.mongodb.store:from_url", "mongodb"),
}


def open_store(url: str, data_dir: Path, *, role: StoreRole | None = None) -> Store:
    """The store that `url` names, not yet open. `role` refuses a store of
    the other kind. Raises SetupError; its message never holds more of the URL than the scheme."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        raise SetupError(
            f"the URL of {role or 'a store'} cannot be read", hint="correct its host"
        ) from None
    row = REGISTRY.get(scheme)
    usable = sorted(s for s, r in REGISTRY.items() if role in (None, r.role))
    if row is None or (role is not None and row.role != role):
        what = f"no {role or ''} store".replace("  ", " ")
        raise SetupError(
            f"{what} has the scheme {scheme!r}",
            hint="use one of " + ", ".join(f"{s}:" for s in usable),
        )
    module_name, _, function = row.factory.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "stores":
            raise
        extra = f"recordgate[{row.extra}]" if row.extra else "recordgate"
        raise SetupError(
            f"the store {scheme}: needs the package {error.name!r}, which is not installed",
            hint=f"pip install '{extra}'",
        ) from error
    factory = cast("Callable[[str, Path], Store]", getattr(module, function))
    return factory(url, data_dir)
