"""What a caller sends becomes exactly the value that is stored, or an error that names the
property."""

import contextlib
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.contract.model import Logical, Property, Scalar
from stores.errors import InputError
from stores.values import MAX_EXACT_INTEGER, coerce, exact_in_json, from_text, to_text

SQL = {
    Scalar.STRING: "text", Scalar.INT: "integer", Scalar.BIGINT: "bigint",
    Scalar.FLOAT: "double precision", Scalar.DECIMAL: "numeric(10,2)", Scalar.BOOLEAN: "boolean",
    Scalar.DATE: "date", Scalar.TIMESTAMP: "timestamp with time zone",
    Scalar.DATETIME: "timestamp without time zone", Scalar.TIME: "time without time zone",
    Scalar.UUID: "uuid", Scalar.BYTES: "bytea", Scalar.JSON: "jsonb",
}  # fmt: skip
UUID_TEXT = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def prop(scalar: Scalar, sql_type: str = "", array: bool = False) -> Property:
    name = sql_type or SQL[scalar] + ("[]" if array else "")
    return Property("secretField", "c", "secretField", Logical.STRING, scalar, name, array)


@pytest.mark.parametrize(
    ("scalar", "given_", "wanted"),
    [
        (Scalar.STRING, "é", "é"),
        (Scalar.STRING, None, None),
        (Scalar.INT, 5, 5),
        (Scalar.INT, 5.0, 5),
        (Scalar.INT, -(2**31), -(2**31)),
        (Scalar.BIGINT, 2**63 - 1, 2**63 - 1),
        (Scalar.BIGINT, "9223372036854775807", 2**63 - 1),
        (Scalar.FLOAT, 1, 1.0),
        (Scalar.DECIMAL, "1.10", Decimal("1.10")),
        (Scalar.DECIMAL, 0.1, Decimal("0.1")),
        (Scalar.DECIMAL, 7, Decimal(7)),
        (Scalar.BOOLEAN, False, False),
        (Scalar.DATE, "2024-02-29", date(2024, 2, 29)),
        (Scalar.TIMESTAMP, "2024-02-29T12:00:00Z", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        (Scalar.TIMESTAMP, "2024-02-29 12:00+02:00", datetime(2024, 2, 29, 10, tzinfo=UTC)),
        (Scalar.DATETIME, "2024-02-29T12:00:00.5", datetime(2024, 2, 29, 12, 0, 0, 500000)),
        (Scalar.TIME, "12:30", time(12, 30)),
        (Scalar.UUID, UUID_TEXT.upper(), UUID(UUID_TEXT)),
        (Scalar.BYTES, "AAE=", b"\0\1"),
        (Scalar.JSON, {"a": [1, None, True, "x"]}, {"a": [1, None, True, "x"]}),
    ],
)
def test_a_value_that_fits_is_taken(scalar: Scalar, given_: Any, wanted: Any) -> None:
    found = coerce(prop(scalar), given_)
    assert (type(found), found) == (type(wanted), wanted)


DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("scalar", "given_"),
    [
        (Scalar.STRING, 5), (Scalar.STRING, "a\0b"), (Scalar.STRING, "\ud800"), (Scalar.STRING, ["a"]),
        (Scalar.INT, 2**31), (Scalar.INT, True), (Scalar.INT, 1.5), (Scalar.INT, "5"), (Scalar.INT, float("nan")),
        (Scalar.BIGINT, 2**63), (Scalar.BIGINT, "-9223372036854775809"), (Scalar.BIGINT, "1" * 5000),
        (Scalar.FLOAT, float("inf")), (Scalar.FLOAT, float("nan")), (Scalar.FLOAT, 10**400), (Scalar.FLOAT, "1"),
        (Scalar.DECIMAL, "1e999999"), (Scalar.DECIMAL, "1" * 5000), (Scalar.DECIMAL, "1,0"),
        (Scalar.DECIMAL, float("inf")), (Scalar.DECIMAL, 10**2000), (Scalar.DECIMAL, True),
        (Scalar.BOOLEAN, 1), (Scalar.BOOLEAN, "true"),
        (Scalar.DATE, "2023-02-29"), (Scalar.DATE, "20240229"), (Scalar.DATE, "２０２４-02-29"), (Scalar.DATE, 5),
        (Scalar.TIMESTAMP, "2024-02-29T12:00:00"),
        (Scalar.DATETIME, "2024-02-29T12:00:00Z"), (Scalar.TIME, "25:00"), (Scalar.TIME, "12:00Z"),
        (Scalar.UUID, "x"), (Scalar.UUID, "{" + UUID_TEXT + "}"), (Scalar.BYTES, "***"), (Scalar.BYTES, 5),
        (Scalar.JSON, {"a": "\0"}), (Scalar.JSON, {"\0": 1}), (Scalar.JSON, float("nan")), (Scalar.JSON, DEEP),
        (Scalar.JSON, b"x"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_by_the_property_s_name(
    scalar: Scalar, given_: Any
) -> None:
    with pytest.raises(InputError) as raised:
        coerce(prop(scalar), given_)
    assert raised.value.message.startswith("secretField: ")
    # The value itself may be one that the reader of the error must not see.
    assert len(raised.value.message) < 100


def test_the_range_is_that_of_the_column() -> None:
    assert coerce(prop(Scalar.INT, "smallint"), 32767) == 32767
    for scalar, sql_type, value in (
        (Scalar.INT, "smallint", 32768),
        (Scalar.FLOAT, "real", 1e39),
        (Scalar.INT, "smallint[]", [1, 40000]),
    ):
        with pytest.raises(InputError):
            coerce(prop(scalar, sql_type, sql_type.endswith("[]")), value)


def test_an_integer_that_readers_of_json_round_is_a_string() -> None:
    for kept in (MAX_EXACT_INTEGER, -MAX_EXACT_INTEGER, 2.0**60, True, None, "x"):
        assert exact_in_json(kept) is kept
    assert exact_in_json(MAX_EXACT_INTEGER + 1) == "9007199254740992"
    assert exact_in_json(-(2**63)) == "-9223372036854775808"


def test_a_list_is_taken_element_by_element() -> None:
    dates = prop(Scalar.DATE, array=True)
    assert coerce(dates, ["2024-01-01", None]) == [date(2024, 1, 1), None]
    for value in ("2024-01-01", {"a": 1}, [["2024-01-01"]], ["x"]):
        with pytest.raises(InputError):
            coerce(dates, value)


@given(
    st.sampled_from(list(Scalar)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
    st.booleans(),
)
def test_no_value_gets_another_error_than_ours(scalar: Scalar, value: Any, array: bool) -> None:
    try:
        found = coerce(prop(scalar, array=array), value)
    except InputError:
        return
    if found is not None:
        to_text(prop(scalar, array=array), found)


@given(st.sampled_from(list(Scalar)), st.text(max_size=50))
def test_no_text_gets_another_error_than_ours(scalar: Scalar, text: str) -> None:
    with contextlib.suppress(InputError):
        from_text(prop(scalar), text)


@given(
    st.sampled_from(
        [Scalar.INT, Scalar.BIGINT, Scalar.DATE, Scalar.TIMESTAMP, Scalar.DATETIME, Scalar.TIME, Scalar.UUID, Scalar.BOOLEAN]
    ),
    st.data(),
)  # fmt: skip
def test_text_and_value_lead_to_each_other(scalar: Scalar, data: st.DataObject) -> None:
    strategies: dict[Scalar, st.SearchStrategy[Any]] = {
        Scalar.INT: st.integers(-(2**31), 2**31 - 1),
        Scalar.BIGINT: st.integers(-(2**63), 2**63 - 1),
        Scalar.DATE: st.dates(),
        Scalar.TIMESTAMP: st.datetimes(timezones=st.just(UTC)),
        Scalar.DATETIME: st.datetimes(),
        Scalar.TIME: st.times(),
        Scalar.UUID: st.uuids(),
        Scalar.BOOLEAN: st.booleans(),
    }
    value = data.draw(strategies[scalar])
    assert from_text(prop(scalar), to_text(prop(scalar), value)) == value
