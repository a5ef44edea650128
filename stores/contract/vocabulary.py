"""`search` of a type: `{synonyms: [[usa, united states], …], stopWords: [the, …]}`."""

from __future__ import annotations

from stores.contract.extensions import unknown_key, wrong
from stores.contract.model import Vocabulary
from stores.contract.node import Node
from stores.contract.options import OPTIONS

MAX_GROUPS = 1_000
MAX_MEMBERS = 20
MAX_STOP_WORDS = 1_000
MAX_CHARACTERS = 100
"""Maximum characters of a word, or of a synonym of several words."""


def vocabulary_value(at: Node | None) -> Vocabulary:
    """Return the vocabulary at `at`. Invalid entries are reported as findings and left out."""
    if at is None:
        return Vocabulary()
    if not isinstance(at.data, dict):
        wrong(
            at, "`search` of a type must be a mapping", "search: {synonyms: [[usa, united states]]}"
        )
        return Vocabulary()
    synonyms: tuple[tuple[str, ...], ...] = ()
    stop_words: tuple[str, ...] = ()
    for key, value in at.entries():
        if key == "synonyms":
            synonyms = _groups(value)
        elif key == "stopWords":
            stop_words = _words(value, "stopWords", MAX_STOP_WORDS)
        else:
            unknown_key(value, "search", key, OPTIONS["vocabulary"])
    return Vocabulary(synonyms, stop_words)


def _groups(at: Node) -> tuple[tuple[str, ...], ...]:
    if not isinstance(at.data, list) or len(at.data) > MAX_GROUPS:
        wrong(
            at,
            f"`synonyms` must be a list of at most {MAX_GROUPS} groups",
            "[[usa, united states]]",
        )
        return ()
    found: list[tuple[str, ...]] = []
    for group in at:
        words = _words(group, "a group of synonyms", MAX_MEMBERS)
        if isinstance(group.data, list) and len(group.data) == 1:
            wrong(group, "a group of synonyms has at least two members")
        elif len(words) > 1:
            found.append(words)
    return tuple(found)


def _words(at: Node, what: str, most: int) -> tuple[str, ...]:
    if not isinstance(at.data, list) or len(at.data) > most:
        wrong(at, f"{what} must be a list of at most {most} texts")
        return ()
    found: list[str] = []
    for word in at:
        text = word.data
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_CHARACTERS:
            wrong(word, f"{what}: each text must have 1 to {MAX_CHARACTERS} characters")
        else:
            found.append(text)
    return tuple(found)
