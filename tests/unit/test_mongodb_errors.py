"""A driver's error becomes one of ours, by its code; texts of the server and secrets stay
behind."""

from __future__ import annotations

import asyncio

import pytest
from pymongo import errors

from stores.documents.mongodb.errors import item_verdict, refuses_all, translate
from stores.documents.mongodb.store import MongodbStore
from stores.errors import RecordgateError, StoreRefused, StoreUnavailable
from stores.protocols import Outcome
from tests.conformance.store_contract import CONTRACT


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (11000, Outcome.STALE),
        (112, Outcome.RETRY),
        (91, Outcome.RETRY),
        (14031, Outcome.RETRY),
        (10334, Outcome.REJECT),
        (2, Outcome.REJECT),
        (None, Outcome.REJECT),
    ],
)
def test_the_code_of_a_write_decides_its_verdict(code: int | None, outcome: Outcome) -> None:
    verdict = item_verdict({"code": code, "errmsg": "E11000 duplicate key: secret"})
    assert verdict.outcome is outcome
    assert "secret" not in verdict.reason


@pytest.mark.parametrize("code", [13, 18])
def test_what_is_not_about_a_document_is_not_blamed_on_it(code: int) -> None:
    assert refuses_all({"code": code})
    assert not refuses_all({"code": 11000})


def certificate_expired() -> errors.AutoReconnect:
    return errors.AutoReconnect(
        "h:1: [SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired secret"
    )


@pytest.mark.parametrize(
    ("error", "expected", "word"),
    [
        (errors.OperationFailure("not primary, secret", 10107), StoreUnavailable, "now"),
        (errors.OperationFailure("bad auth secret", 18), StoreRefused, "account"),
        (errors.OperationFailure("secret", 13), StoreRefused, "account"),
        (errors.OperationFailure("secret", 59), StoreRefused, "lacks"),
        (errors.OperationFailure("secret", 100), StoreUnavailable, "members"),
        (errors.OperationFailure("secret", 424242), StoreRefused, "424242"),
        (errors.OperationFailure("secret"), StoreRefused, "refused"),
        (errors.NetworkTimeout("secret"), StoreUnavailable, "in time"),
        (errors.ServerSelectionTimeoutError("secret"), StoreUnavailable, "not reached"),
        (errors.ConfigurationError("wire version, secret"), StoreRefused, "configured"),
        (errors.InvalidOperation("secret"), StoreUnavailable, "not open"),
        (certificate_expired(), StoreRefused, "certificate"),
    ],
)
def test_an_error_of_the_driver_becomes_ours(
    error: errors.PyMongoError, expected: type[RecordgateError], word: str
) -> None:
    found = translate(error, "host/db")
    assert isinstance(found, expected)
    assert word in found.message
    assert "secret" not in str(found)


@pytest.mark.filterwarnings("ignore:The value of tls")
@pytest.mark.parametrize(
    "url", ["mongodb://u:secret@127.0.0.1:1/db", "mongodb://u:secret@127.0.0.1:1/db?tls=perhaps"]
)
def test_a_port_where_nobody_is_or_a_wrong_option_is_told_without_secrets(url: str) -> None:
    separator = "&" if "?" in url else "?"
    store = MongodbStore(f"{url}{separator}serverSelectionTimeoutMS=200")

    async def story() -> None:
        with pytest.raises(RecordgateError) as told:
            await store.open(CONTRACT, write=True)
        assert "secret" not in str(told.value)
        assert told.value.hint
        health = await store.health()
        assert not health.ok

    asyncio.run(story())
