"""Twins compare as the values they stand for."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import tantivy
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.contract.model import Logical, Property, Scalar
from stores.search.facet_values import facet_value
from stores.search.tantivy.filters import text_beyond
from stores.search.twins import (
    TWIN_BYTES,
    date_number,
    kind_of,
    operand,
    text_twin,
    time_number,
    timestamp_number,
    twin_converter,
)
from tests.conformance.store_contract import prop

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
BOUND = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


@given(st.dates())
def test_dates_are_days(day: date) -> None:
    assert date_number(day.isoformat()) == (day - date(1970, 1, 1)).days


@given(st.datetimes())
def test_time_stamps_are_microseconds(moment: datetime) -> None:
    expected = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    fraction = moment.isoformat().rstrip("0") if moment.microsecond else moment.isoformat()
    for text in (moment.isoformat(), fraction, fraction + "+00:00", fraction + "Z"):
        assert timestamp_number(text) == expected


def test_dates_beyond_pythons_are_in_order() -> None:
    days = [
        "-infinity", "4713-01-01 BC", "0044-03-15 BC", "0001-12-31 BC", "0001-01-01",
        "9999-12-31", "10000-01-01", "294276-12-31", "infinity",
    ]  # fmt: skip
    numbers = [date_number(d) for d in days]
    assert numbers == sorted(set(numbers))
    assert date_number("0001-01-01") - date_number("0001-12-31 BC") == 1
    assert date_number("10000-01-01") - date_number("9999-12-31") == 1
    moments = ["-infinity", "0001-12-31T23:59:59+00:00 BC", "0001-01-01T00:00:00+00:00", "infinity"]
    numbers = [timestamp_number(m) for m in moments]
    assert numbers == sorted(set(numbers))


def test_times_are_microseconds_of_the_day() -> None:
    texts = ["00:00:00", "00:00:00.000001", "00:00:01", "12:30:00.5", "23:59:59.999999", "24:00:00"]
    numbers = [time_number(t) for t in texts]
    assert numbers == sorted(set(numbers))
    assert operand(prop("t", Scalar.TIME), time(12, 30, 0, 500000)) == time_number("12:30:00.5")


def test_operands_are_the_twins_of_what_canonical_prints() -> None:
    utc = datetime(2024, 6, 1, 12, 0, 0, 120000, UTC)
    stamp = prop("t", Scalar.TIMESTAMP)
    printed = twin_converter(stamp)("2024-06-01T12:00:00.12+00:00")
    assert operand(stamp, utc) == printed
    assert operand(stamp, utc.astimezone(timezone(timedelta(hours=-7)))) == printed
    price = prop("p", Scalar.DECIMAL)
    assert operand(price, Decimal("10.1")) == twin_converter(price)("10.10")
    with pytest.raises(ValueError, match="digits"):
        operand(price, Decimal("10.1000000000000000001"))
    with pytest.raises(ValueError, match="type"):
        operand(prop("n", Scalar.INT), "7")
    assert kind_of(prop("w", Scalar.DECIMAL, sql_type="numeric")) is None
    assert kind_of(prop("w", Scalar.DECIMAL, sql_type="numeric(16,2)")) is None


@given(st.decimals("-9999999999.99", "9999999999.99", places=2), st.decimals("-99", "99", places=2))
def test_decimals_of_fifteen_digits_keep_their_order(a: Decimal, b: Decimal) -> None:
    x, y = operand(prop("p", Scalar.DECIMAL), a), operand(prop("p", Scalar.DECIMAL), b)
    assert (x < y, x == y) == (a < b, a == b)


def test_a_long_text_keeps_its_equality_and_its_order_by_the_beginning() -> None:
    long = "é" * 1000
    assert text_twin(long) != text_twin(long + "x")
    assert len(text_twin(long * 100).encode()) < TWIN_BYTES + 100
    assert text_twin("a" + long) < text_twin("b" + long)
    assert text_twin("short") == "short"


@pytest.fixture(scope="module")
def place() -> tuple[tantivy.Index, tantivy.Schema]:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("f", stored=True, tokenizer_name="raw", index_option="basic")
    schema = builder.build()
    return tantivy.Index(schema), schema


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(TEXT, min_size=1, max_size=30),
    bound=BOUND,
    above=st.booleans(),
    inclusive=st.booleans(),
)
def test_a_range_of_texts_is_bytewise(
    values: list[str],
    bound: str,
    above: bool,
    inclusive: bool,
    place: tuple[tantivy.Index, tantivy.Schema],
) -> None:
    index, schema = place
    writer = index.writer(15_000_000, 1)
    writer.delete_all_documents()
    values = sorted({*values, bound})
    for value in values:
        writer.add_document(tantivy.Document.from_dict({"f": ["p\0" + value, "q" + value]}, schema))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()
    query = text_beyond(schema, "f", "p\0", bound, above=above, inclusive=inclusive)
    hits = searcher.search(query, limit=100).hits
    found = {str(searcher.doc(a)["f"][0])[2:] for _, a in hits}
    raw = bound.encode()
    assert found == {
        v for v in values
        if (v.encode() > raw if above else v.encode() < raw) or (inclusive and v == bound)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scalar", "sql_type", "values"),
    [
        (Scalar.DATE, "date", ["1970-01-01", "0001-01-01", "9999-12-31", "12024-02-29", "infinity", "0044-03-15 BC"]),
        (Scalar.TIMESTAMP, "timestamp with time zone", ["2024-06-01T12:00:00.5+00:00", "1969-12-31T23:59:59.999999+00:00", "-infinity"]),
        (Scalar.DATETIME, "timestamp without time zone", ["2024-06-01T12:00:00", "0001-01-01T00:00:00.000001"]),
        (Scalar.TIME, "time without time zone", ["00:00:00", "24:00:00", "12:30:00.5"]),
        (Scalar.DECIMAL, "numeric(12,2)", ["-1.50", "0.00", "9999999999.99"]),
        (Scalar.BIGINT, "bigint", [2**63 - 1, -(2**63), 0]),
        (Scalar.BOOLEAN, "boolean", [True, False]),
        (Scalar.STRING, "text", ["", "é" * 480]),
    ],
)  # fmt: skip
def test_a_facet_shows_the_value_that_the_document_has(
    scalar: Scalar, sql_type: str, values: list[Any]
) -> None:
    prop = Property("p", "p", "p", Logical.STRING, scalar, sql_type)
    for value in values:
        twin = twin_converter(prop)(value)
        assert facet_value(prop, twin) == value
        assert facet_value(prop, float(twin) if scalar is Scalar.DECIMAL else twin) == value


def test_a_text_too_long_to_be_kept_whole_is_no_value_of_a_facet() -> None:
    prop = Property("p", "p", "p", Logical.STRING, Scalar.STRING, "text")
    assert facet_value(prop, twin_converter(prop)("é" * 481)) is None
