"""What is typed becomes words and phrases; what is shown of a hit is safe and short."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import LimitError
from stores.search.edit_distance import allowed, distance, within
from stores.search.highlight import FRAGMENT_CHARACTERS, fragments
from stores.search.query_text import MAX_CHARACTERS, MAX_WORDS, parse
from stores.search.tantivy.analyzers import cut, fold


def phrases(text: str) -> list[tuple[str, ...]]:
    return [p.words for p in parse(text, cut)]


def test_words_and_phrases() -> None:
    assert phrases("new york") == [("new",), ("york",)]
    assert phrases('"new york" city') == [("new", "york"), ("city",)]
    assert phrases('a "b c') == [("a",), ("b",), ("c",)]
    assert phrases('a""b "" c') == [("a",), ("b",), ("c",)]
    assert phrases('"a" "b" "c') == [("a",), ("b",), ("c",)]
    assert phrases("saint-denis (AND) x:y") == [("saint",), ("denis",), ("AND",), ("x",), ("y",)]
    assert phrases(" \t?!") == []


@given(st.text(max_size=200))
def test_every_text_within_the_limits_is_parsed_and_words_stand_where_they_say(text: str) -> None:
    try:
        found = parse(text, cut)
    except LimitError:
        assert len(cut(text)) > MAX_WORDS
        return
    for phrase in found:
        assert text[phrase.start : phrase.end].startswith(phrase.words[0])
        assert text[phrase.start : phrase.end].endswith(phrase.words[-1])


def test_a_text_too_long_is_refused() -> None:
    parse("x" * MAX_CHARACTERS, cut)
    parse("x " * MAX_WORDS, cut)
    with pytest.raises(LimitError):
        parse("x" * (MAX_CHARACTERS + 1), cut)
    with pytest.raises(LimitError):
        parse("x " * (MAX_WORDS + 1), cut)
    with pytest.raises(LimitError):
        parse('"' + "x " * (MAX_WORDS + 1) + '"', cut)


def test_folding_drops_case_and_accents() -> None:
    assert fold("Saint-Étienne") == fold("saint-e\u0301tienne") == "saint-etienne"


@pytest.mark.parametrize(
    ("a", "b", "apart"),
    [
        ("pariz", "paris", 1),
        ("yrok", "york", 1),
        ("a", "", 1),
        ("kitten", "sitting", 3),
        ("ab", "ba", 1),
        ("", "", 0),
    ],
)
def test_distances(a: str, b: str, apart: int) -> None:
    assert distance(a, b, 5) == distance(b, a, 5) == apart
    assert within(a, b, apart)
    assert apart == 0 or not within(a, b, apart - 1)


def test_long_words_may_have_two_edits() -> None:
    assert [allowed("x" * n) for n in (1, 2, 3, 7, 8, 20)] == [0, 0, 1, 1, 2, 2]


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=900), st.data())
def test_fragments_hold_the_text_escaped_and_the_matches_marked(
    text: str, data: st.DataObject
) -> None:
    ends = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    spans = [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=False) if a < b]
    for fragment in fragments(text, spans):
        plain = unescape(re.sub(r"</?em>", "", fragment))
        assert plain in text
        assert len(plain) <= FRAGMENT_CHARACTERS
        assert re.sub(r"</?em>", "", fragment).count("<") == 0
        marked = re.findall(r"<em>(.*?)</em>", fragment, re.DOTALL)
        assert marked
        assert all(unescape(m) for m in marked)
