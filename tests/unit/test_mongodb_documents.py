"""A document comes back from BSON byte for byte, native where BSON can hold it and as text where
not."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import bson
import orjson
import pytest
from bson.decimal128 import Decimal128
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.contract.model import Contract, Embed, Relation, Scalar
from stores.documents.mongodb import documents as mongodb_documents
from stores.documents.mongodb.documents import MAX_BSON_BYTES, bound, document_bytes, form, live
from stores.documents.mongodb.indexes import cannot_index, index_models
from stores.protocols import Outcome, Verdict
from stores.write_checks import MAX_DOCUMENT_BYTES
from tests.conformance.store_contract import AUTHOR, BOOK, CONTRACT, SHELF, prop, record_type

FORM = form(CONTRACT, BOOK)


def stored(document: bytes, of: mongodb_documents.BsonForm = FORM) -> dict[str, Any]:
    """What MongoDB gives back."""
    held = live(of, 7, document)
    assert not isinstance(held, Verdict)
    found: dict[str, Any] = bson.decode(held.raw)
    assert found["v"] == 7
    assert document_bytes(found) == document
    return found


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=6), st.booleans())
def test_every_document_comes_back_byte_for_byte(
    document: dict[str, Any], ascii_only: bool
) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only)
    try:
        orjson.loads(text)
        encoded = text.encode()
    except (ValueError, UnicodeEncodeError):
        return  # half of a surrogate pair: no JSON
    stored(encoded)


def test_what_canonical_prints_is_native_and_nothing_else_is_stored() -> None:
    body = orjson.dumps(
        {"id": 1, "title": "é", "copies": 2**62, "rating": 0.1, "price": "12.50", "printed": True,
         "tags": ["a"], "extra": {"a": {"b": [1, None]}}, "author": None}
    )  # fmt: skip
    found = stored(body)
    assert set(found) == {"v", "doc"}
    assert found["doc"]["copies"] == 2**62
    assert found["doc"]["price"] == Decimal128("12.50")
    assert found["doc"]["extra"] == {"a": {"b": [1, None]}}


@pytest.mark.parametrize(
    "text",
    ["0.00", "-0.01", "1000", "0.0000001", "9" * 34, "-" + "9" * 34, "0." + "0" * 30 + "1", "NaN"],
)
def test_a_decimal_is_a_number_with_all_its_digits(text: str) -> None:
    found = stored(orjson.dumps({"id": 1, "price": text}))
    assert isinstance(found["doc"]["price"], Decimal128)


@pytest.mark.parametrize("text", ["9" * 35, "1." + "2" * 40, "1E5", "x", ""])
def test_a_decimal_that_would_change_stays_text(text: str) -> None:
    assert stored(orjson.dumps({"id": 1, "price": text}))["doc"]["price"] == text


def test_decimals_of_embedded_records_are_numbers_too() -> None:
    country = record_type("country", (prop("iso"), prop("area", Scalar.DECIMAL)), ("iso",))
    city = record_type(
        "city",
        (prop("id"), prop("in"), prop("prices", Scalar.DECIMAL, array=True)),
        ("id",),
        relations=(
            Relation("country", "country", "country", ("in",), ("iso",), False, True, "cities"),
        ),
        embeds=(Embed("country"),),
    )
    of = form(Contract("c", "c", "1", {"city": city, "country": country}), city)
    body = {
        "id": "a",
        "in": "FR",
        "prices": ["1.0", None],
        "country": {"iso": "FR", "area": "2.50"},
    }
    found = stored(orjson.dumps(body), of)["doc"]
    assert found["prices"] == [Decimal128("1.0"), None]
    assert found["country"]["area"] == Decimal128("2.50")
    assert stored(orjson.dumps(body | {"country": None}), of)["doc"]["country"] is None


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "extra",
    [
        {"$ref": "a", "$id": 1},
        {"x": [{"$where": 1}]},
        2**64 - 1,
        {"a\0b": 1},
        nested(95),
        [1] * 1_400_000,
    ],
    ids=[
        "a reference",
        "an operator",
        "more than 64 bits",
        "NUL in a name",
        "deep",
        "large as BSON",
    ],
)
def test_what_bson_cannot_hold_is_text_beside_the_key_and_the_foreign_keys(extra: Any) -> None:
    body = orjson.dumps({"id": 5, "author": "a", "title": "t", "extra": extra})
    found = stored(body)
    assert found["doc"] == {"id": 5, "author": "a"}
    assert found["json"] == body.decode()


@pytest.mark.parametrize("name", [b'"\\u0024ref"', b'"$ref"'])
def test_a_name_with_a_dollar_is_found_however_it_is_spelled(name: bytes) -> None:
    assert "title" not in stored(b'{"id":1,"title":"t","extra":{' + name + b" :1}}")["doc"]


def test_a_dollar_or_a_dot_in_a_value_or_a_dot_in_a_name_is_native() -> None:
    body = {"id": 1, "title": "$5: cheap", "tags": ["$", "$x", ""], "extra": {"a.b": 1, "": "$"}}
    assert stored(orjson.dumps(body))["doc"] == body


def test_the_largest_document_fits() -> None:
    body = orjson.dumps({"id": 1, "title": ""})
    body = body[:-2] + b"x" * (MAX_DOCUMENT_BYTES - len(body)) + b'"}'
    assert len(body) == MAX_DOCUMENT_BYTES
    held = live(FORM, 1, body)
    assert not isinstance(held, Verdict)
    assert len(held.raw) < MAX_BSON_BYTES
    spaced = body[:-1] + b" }"
    held = live(FORM, 1, spaced[: -len(b'x"} ')] + b'" }')
    assert not isinstance(held, Verdict)
    assert document_bytes(bson.decode(held.raw))[-2:] == b" }"


def test_what_no_store_takes_is_refused() -> None:
    held = live(FORM, 1, b"[1]")
    assert isinstance(held, Verdict)
    assert held.outcome is Outcome.REJECT


@pytest.mark.parametrize(
    ("scalar", "value", "expected"),
    [
        (Scalar.TIMESTAMP, datetime(2024, 5, 1, 12, tzinfo=UTC), "2024-05-01T12:00:00+00:00"),
        (
            Scalar.TIMESTAMP,
            datetime(2024, 5, 1, 12, 0, 0, 500000, UTC),
            "2024-05-01T12:00:00.5+00:00",
        ),
        (Scalar.DATETIME, datetime(2024, 5, 1, 0, 0, 0, 1), "2024-05-01T00:00:00.000001"),
        (Scalar.TIME, time(1, 2, 3, 120000), "01:02:03.12"),
        (Scalar.DATE, date(2024, 5, 1), "2024-05-01"),
        (Scalar.DECIMAL, Decimal("1.50"), Decimal128("1.50")),
        (Scalar.FLOAT, Decimal("1.5"), 1.5),
        (Scalar.BYTES, b"\x00\xff", "AP8="),
    ],
)
def test_a_value_of_a_query_looks_as_in_a_document(
    scalar: Scalar, value: Any, expected: Any
) -> None:
    assert bound(scalar, value) == expected


def test_an_index_is_a_foreign_key_followed_by_the_key() -> None:
    def keys(model: Any) -> list[str]:
        return list(model.document["key"])

    tombstones, *children = index_models(BOOK)
    assert tombstones.document["expireAfterSeconds"] >= 7 * 86400
    assert tombstones.document["sparse"]
    assert [keys(m) for m in children] == [["doc.author", "doc.id"]]
    assert [keys(m) for m in index_models(SHELF)[1:]] == [["doc.book", "doc.room", "doc.place"]]
    assert len(index_models(AUTHOR)) == 1


@pytest.mark.parametrize("name", ["a.b", "$a", ""])
def test_a_name_that_no_index_can_hold_is_found(name: str) -> None:
    assert cannot_index(record_type("x", (prop(name),), (name.lower(),))) == name
    assert cannot_index(BOOK) is None
