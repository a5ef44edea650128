"""The contract's analyzers, made of Tantivy's tokenizer and filters."""

from __future__ import annotations

import unicodedata
from functools import cache

import tantivy

from stores.search.runs import cutting

FOLDED = "recordgate_folded"
"""The name under which an index knows `fold`."""


def analyzer_name(analyzer: str) -> str:
    """The name under which an index knows an analyzer of the contract."""
    return "raw" if analyzer == "keyword" else f"recordgate_{analyzer}"


@cache
def analyzer(name: str) -> tantivy.TextAnalyzer:
    """Return the analyzer of a name: "standard", "keyword", or a language.

    Raises ValueError for a language that Tantivy has no stemmer for.
    """
    if name == "keyword":
        return tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw()).build()
    filters = [tantivy.Filter.lowercase()]
    if name != "standard":
        stop_words = tantivy.Filter.stopword(name)
        if _known(stop_words):  # a stemmer without a list of stop words is still a stemmer
            filters.append(stop_words)
        filters.append(tantivy.Filter.stemmer(name))
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for each in [*filters, tantivy.Filter.ascii_fold()]:
        builder = builder.filter(each)
    return builder.build()


def _known(filter: tantivy.Filter) -> bool:
    """Return whether Tantivy has the filter's language. It refuses an unknown one only when the
    filter is used, and then the builder is gone."""
    try:
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(filter)
    except ValueError:
        return False
    return True


@cache
def _cutter() -> tantivy.TextAnalyzer:
    return tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build()


def _cut(text: str) -> list[tuple[str, int, int]]:
    tokens = _cutter().pre_tokenize(text).tokens
    return [(t.text, t.char_offset_from, t.char_offset_to) for t in tokens]


cut = cutting(_cut)
"""Cuts a text into words, as every analyzer but "keyword" does."""


def composed(text: str) -> str:
    """Return the text in Unicode NFC, where an accent of its own is part of its letter: the
    tokenizer would cut the word there."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@cache
def folder() -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw())
    return builder.filter(tantivy.Filter.lowercase()).filter(tantivy.Filter.ascii_fold()).build()


def fold(text: str) -> str:
    """The whole text in lower case without accents."""
    return "".join(folder().analyze(composed(text)))
