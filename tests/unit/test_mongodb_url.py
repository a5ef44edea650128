"""The URL of the MongoDB store: what it must say, and that its secrets never show."""

from __future__ import annotations

from pathlib import Path

import pytest

from stores.documents.mongodb.store import from_url
from stores.documents.mongodb.url import parse
from stores.errors import SetupError
from stores.registry import open_store
from stores.roles import StoreRole

SECRET = "s3cr3t-pass"


@pytest.mark.parametrize(
    "url",
    [
        f"mongodb://user:{SECRET}@host:27017",
        f"mongodb://user:{SECRET}@host:27017/",
        f"mongodb:///db?password={SECRET}",
        f"mongodb://user:{SECRET}@/db",
        f"mongodb://user:{SECRET}@host/admin",
        f"mongodb://user:{SECRET}@host/a b",
        f"mongodb://user:{SECRET}@host/{'d' * 64}",
        f"mongodb://user:{SECRET}@[::1/db",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_form_and_without_its_secrets(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(SetupError) as refused:
        open_store(url, tmp_path, role=StoreRole.DOCUMENTS)
    assert refused.value.hint
    assert SECRET not in str(refused.value)
    assert "user" not in refused.value.message


@pytest.mark.parametrize("scheme", ["mongodb", "mongodb+srv"])
def test_hosts_and_database_are_shown_and_nothing_else(scheme: str, tmp_path: Path) -> None:
    store = open_store(f"{scheme}://u:{SECRET}@db.example/records?tls=true", tmp_path)
    assert store.kind == "mongodb"
    address = parse(f"{scheme}://u:{SECRET}@db.example/records?tls=true")
    assert address.where == "db.example/records"
    assert SECRET not in repr(address)


def test_the_urls_own_options_win_over_our_defaults() -> None:
    address = parse("mongodb://a:1,b:2/records?replicaSet=r&SOCKETTIMEOUTMS=123")
    assert "socketTimeoutMS" not in address.options
    assert address.options["connectTimeoutMS"] < 10_000
    assert address.where == "a:1,b:2/records"


def test_a_password_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "pass word"
    secret.write_text(f"{SECRET}\nmore\n")
    address = parse(f"mongodb://u@h/records?tls=true&password_file={secret}")
    assert address.client_options()["password"] == SECRET
    assert address.url == "mongodb://u@h/records?tls=true"
    assert SECRET not in repr(from_url(address.url, tmp_path))
    secret.unlink()
    with pytest.raises(SetupError, match="cannot be read"):
        address.client_options()
