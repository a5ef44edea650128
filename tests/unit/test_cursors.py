"""A cursor carries any value back unchanged, and none but ours is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.shape.cursors import decode, encode
from gateway.shape.orders import signature
from stores.errors import InputError
from stores.query import Order
from tests.library_world import AUTHOR, BOOK

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"))


@given(st.lists(st.none() | texts, max_size=5))
def test_values_come_back_as_they_were(values: list[str | None]) -> None:
    cursor = encode("abc", values)
    assert decode(cursor, "abc", len(values)) == tuple(values)
    assert cursor.isascii()
    assert not set(cursor) & set("+/=")


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
def test_any_other_text_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError):
        decode(text, "abc", 1)


@pytest.mark.parametrize("values", [["\x00"], ["\ud800"], [1], [["a"]], [True], [1.5], [{}]])
def test_values_that_no_store_could_have_printed_are_refused(values: list[object]) -> None:
    import base64
    import json

    forged = base64.urlsafe_b64encode(json.dumps(["abc", *values]).encode()).decode().rstrip("=")
    with pytest.raises(InputError):
        decode(forged, "abc", 1)


def test_a_signature_tells_types_orders_and_nulls_apart() -> None:
    orders = [
        (Order("id"),),
        (Order("id", True),),
        (Order("id", False, True),),
        (Order("name"), Order("id")),
        (Order("name", path=("mentor",)), Order("id")),
    ]
    signatures = {signature(AUTHOR, o) for o in orders} | {signature(BOOK, orders[0])}
    assert len(signatures) == len(orders) + 1
    assert signature(AUTHOR, (Order("id", False, False),)) == signature(AUTHOR, orders[0])
