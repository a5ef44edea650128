"""Patterns of texts: what is read, what is refused, and that every store is given the same."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.errors import InputError
from stores.folding import folded
from stores.patterns import IGNORING_CASE, LUCENE, POSTGRES, PYTHON, RUST, pattern_of
from stores.query import Op

EQ, CONTAINS = Op.EQ_IGNORE_CASE, Op.CONTAINS_IGNORE_CASE


def has(op: Op, operand: str, text: str) -> bool:
    whole = PYTHON.whole(pattern_of(op, operand), "(?s:.*)", "(?s:.*)")
    return re.fullmatch(whole, text) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "PARIS"), ("Łódź", "lodz"), ("straße", "STRASSE"), ("ﬁne", "Fine"), ("é",
        "e\u0301"),
        ("İstanbul", "istanbul"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("Ång", "\u212bng"), ("œuvre", "OEUVRE"),
        ("Ёлка", "елка"), ("שָׁלוֹם", "שלום"), ("مُحَمَّد", "محمد"), ("Việt", "viet"), ("ss", "ß"),
        ("Đà", "da"),
    ],
)  # fmt: skip
def test_texts_that_differ_in_case_and_accents_alone_are_equal(one: str, other: str) -> None:
    assert has(EQ, one, other)
    assert has(EQ, other, one)
    assert has(CONTAINS, one, f"x{other}y")


@pytest.mark.parametrize(
    ("one", "other"), [("か", "が"), ("e", "ee"), ("각", "가"), ("a", "b"), ("", "a"), ("कि", "क")]
)
def test_texts_that_differ_in_more_are_not_equal(one: str, other: str) -> None:
    assert not has(EQ, one, other)


LETTERS = st.text(st.sampled_from("aAeéÉßsSﬁfiłŁ .*\\[é\u0301🦉が"), max_size=8)


@settings(max_examples=300, deadline=None)
@given(LETTERS, LETTERS)
def test_what_ignores_case_is_a_comparison_of_the_folded_texts(operand: str, text: str) -> None:
    a, b = folded(operand), folded(text)
    # A character for several letters is not cut: "s" is not in "ß".
    if not set(text) & set("ßﬁ"):
        assert has(EQ, operand, text) == (a == b)
        assert has(CONTAINS, operand, text) == (a in b)
        assert has(Op.STARTS_WITH_IGNORE_CASE, operand, text) == b.startswith(a)
        assert has(Op.ENDS_WITH_IGNORE_CASE, operand, text) == b.endswith(a)


@pytest.mark.parametrize(
    "pattern",
    [
        "(", ")", "[", "[]", "[^]", "a**", "*a", "(?=a)", "(?<a>b)", r"\1", r"\b", "a{3,2}", "a{",
        "a{,2}", "x{2000}",
        "a|b$", "a^b", "\\", "(a|b)*a(a|b){20}", "((a{1,20}){1,20}){1,20}", "a" * 201,
        "(" * 30 + "a" + ")" * 30,
        "[z-a]", "[a", "a}",
    ],
)  # fmt: skip
def test_what_is_no_pattern_or_explodes_is_refused_at_once(pattern: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InputError) as refused:
        pattern_of(Op.MATCHES, pattern)
    assert time.perf_counter() - start < 1
    assert refused.value.message


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("a.c", "xxa\ncxx", True), ("^a", "ba", False), ("a$", "ab", False), (r"^\d{2,3}$", "123",
        True),
        (r"^\d{2,3}$", "1234", False), (r"[^\d]", "12", False), (r"\.", "a", False), ("(ab|c)+d",
        "abcd", True),
        ("", "", True), ("[]x]".replace("]x", "\\]x"), "]", True), ("(a+)+$", "a" * 5000 + "b",
        False),
    ],
)  # fmt: skip
def test_what_a_pattern_matches(pattern: str, text: str, found: bool) -> None:
    written = PYTHON.whole(pattern_of(Op.MATCHES, pattern), "(?s:.*)", "(?s:.*)")
    if "+)+" not in pattern:  # Python itself would take for ever
        assert (re.fullmatch(written, text) is not None) is found


def test_a_pattern_may_ignore_case_and_accents() -> None:
    for pattern, text in (
        ("^(ant|be+)$", "BÉe"),
        (r"^\w+$", "Élan"),
        ("^[a-c]$", "Ć"),
        ("^é$", "E"),
        (r"^\.$", "."),
    ):
        assert has(Op.MATCHES_IGNORE_CASE, pattern, text), pattern
    for pattern, text in (("^[^a-c]$", "Ć"), (r"^\W$", "é"), ("^é$", "f")):
        assert not has(Op.MATCHES_IGNORE_CASE, pattern, text), pattern


def test_no_store_is_given_a_sign_that_the_caller_wrote() -> None:
    for op in IGNORING_CASE:
        found = pattern_of(op, "a.*\"@&<~#'|(")
        assert not set(POSTGRES.whole(found, "", "")) & set("\"@&<~#'")
        assert not set(RUST.whole(found, "", "")) & set("\"@&<~#'")
        plain = re.sub(r"\\.", "", LUCENE.whole(found, "", ""))
        assert not set(plain) & set("\"@&<~#'.")
