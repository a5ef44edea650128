"""Texts in which each sign of a run is a word: what stands where."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.search.runs import is_sign, original, spread, spread_from

TEXTS = st.text(st.sampled_from("a B.東京カー한ไทําִ่שםُمςأ\u3099🦉\n"), max_size=20)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_each_character_stands_where_what_it_is_made_of_does(text: str) -> None:
    wide, places = spread_from(text)
    assert wide == spread(text)
    assert len(wide) == len(places)
    assert all(0 <= start <= end <= len(text) for start, end in places)
    assert places == sorted(places)
    # A second time there is nothing left to take out.
    assert spread(wide).split() == wide.split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("東京 tower", ["東", "京", "tower"]),
        ("AI展", ["AI", "展"]),
        ("กิน", ["กิ", "น"]),
        ("שָׁלוֹם", ["שלום"]),
        ("Σίσυφος", ["Σισυφοσ"]),
        ("plain", ["plain"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert spread(text).split() == words


def test_signs_next_to_each_other_are_one_span() -> None:
    wide, places = spread_from("x東京y")
    spans = [(n, n + 1) for n, char in enumerate(wide) if char in "東京"]
    assert original(spans, wide, places) == [(1, 3)]
    assert is_sign("東")
    assert not is_sign("東京")
    assert not is_sign("a")
