"""The change sources by URL scheme: one row a scheme."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from stores.canonical.connect import database_of
from stores.canonical.publication import publication_name, slot_name
from stores.contract.model import Contract
from stores.errors import SetupError
from sync.changes import ChangeSource
from sync.sources.pgoutput import PgOutputSource


def _pgoutput(url: str, contract: Contract, canonical_url: str) -> ChangeSource:
    if url != "pgoutput:":
        raise SetupError("the setting `changes`: nothing may follow pgoutput:")
    return PgOutputSource(
        canonical_url,
        contract,
        slot=slot_name(contract, database_of(canonical_url)),
        publication=publication_name(contract),
    )


def _kafka(url: str, contract: Contract, canonical_url: str) -> ChangeSource:
    try:
        import kafka  # type: ignore[import-untyped]  # noqa: F401

        from sync.sources.debezium import DebeziumSource
    except ImportError:
        raise SetupError(
            "reading changes from Kafka needs the extra `kafka`",
            hint="pip install 'recordgate[kafka]'",
        ) from None
    return DebeziumSource(url, contract, canonical_url)


SOURCES: dict[str, Callable[[str, Contract, str], ChangeSource]] = {
    "pgoutput": _pgoutput,
    "kafka": _kafka,
}
"""Scheme → what opens it, from (URL, contract, canonical's URL)."""


def open_source(url: str, contract: Contract, canonical_url: str) -> ChangeSource:
    """The change source that `url` names, not opened yet. Raises SetupError; never shows the URL,
    which may hold a password."""
    scheme = urlsplit(url).scheme
    make = SOURCES.get(scheme)
    if make is None:
        raise SetupError(
            f"the setting `changes` names no known source: {scheme or 'no scheme'}",
            hint=f"known: {', '.join(f'{name}:' for name in SOURCES)}",
        )
    return make(url, contract, canonical_url)
