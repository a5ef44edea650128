"""A store's URL picks its adapter; what cannot be opened is said before anything is tried."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stores import registry
from stores.documents.sqlite.store import SqliteStore
from stores.errors import SetupError
from stores.protocols import DocumentStore, SearchStore
from stores.registry import REGISTRY, Row, open_store
from stores.roles import STORE_ROLES, StoreRole


def test_a_scheme_picks_its_adapter_and_opens_nothing(tmp_path: Path) -> None:
    assert isinstance(open_store("sqlite:", tmp_path), DocumentStore)
    assert isinstance(open_store("tantivy:", tmp_path), SearchStore)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", REGISTRY)
def test_a_store_carries_the_role_of_its_row(scheme: str, tmp_path: Path) -> None:
    beside = "//127.0.0.1:1/name" if REGISTRY[scheme].extra else ""
    store = open_store(f"{scheme.replace('+srv', '')}:{beside}", tmp_path)
    assert store.role is REGISTRY[scheme].role
    assert isinstance(store, DocumentStore) == (store.role is StoreRole.DOCUMENTS)
    assert isinstance(store, SearchStore) == (store.role is StoreRole.SEARCH)


def test_every_role_has_its_row_and_a_letter_of_its_own() -> None:
    assert list(STORE_ROLES) == list(StoreRole)
    assert len({row.letter for row in STORE_ROLES.values()}) == len(StoreRole)


def test_a_path_in_the_url_is_the_place(tmp_path: Path) -> None:
    store = open_store(f"sqlite:{tmp_path}/other.db", Path("/nowhere"))
    assert isinstance(store, SqliteStore)
    assert store.path == tmp_path / "other.db"


@pytest.mark.parametrize("url", ["", "nosuch://user:secret@host", "tantivy", "://x", "sqlite3:"])
def test_an_unknown_scheme_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(SetupError) as refused:
        open_store(url, Path())
    assert "sqlite:" in refused.value.hint
    assert "secret" not in str(refused.value)


def test_a_store_of_the_other_kind_is_refused() -> None:
    with pytest.raises(SetupError) as refused:
        open_store("sqlite:", Path(), role=StoreRole.SEARCH)
    assert "tantivy:" in refused.value.hint
    assert "sqlite" not in refused.value.hint


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row(StoreRole.SEARCH, "no_such_driver_of_ours:from_url", "elasticsearch")
    monkeypatch.setitem(registry.REGISTRY, "missing", row)
    with pytest.raises(SetupError) as refused:
        open_store("missing://host", Path())
    assert "recordgate[elasticsearch]" in refused.value.hint


def test_looking_into_the_registry_imports_no_driver() -> None:
    code = (
        "import sys, stores.registry\n"
        "print([m for m in ('tantivy', 'sqlite3', 'elasticsearch', 'pymongo') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("scheme", sorted(REGISTRY))
def test_every_row_is_complete(scheme: str) -> None:
    row = REGISTRY[scheme]
    assert row.role in ("search", "documents")
    assert row.factory.endswith(":from_url")
