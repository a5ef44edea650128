"""The guard keeps older writes out of an index, also when a crash came between the two commits."""

from __future__ import annotations

from pathlib import Path

import pytest

from stores.protocols import Outcome, Write
from stores.search.fields import levels
from stores.search.tantivy import index as tantivy_index
from stores.search.tantivy.index import Reading, Writing
from tests.conformance.store_contract import AUTHOR, CONTRACT, author, delete, put

LEVEL = levels(CONTRACT, AUTHOR)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "1"
    tantivy_index.create(place, LEVEL, "author")
    return place


def opened(folder: Path) -> Writing:
    return Writing(folder, LEVEL, "author")


def held(folder: Path) -> dict[str, int]:
    reading = Reading(1, folder, "author")
    return {s.key: s.version for s in tantivy_index.scan(folder, reading, None, 1000)}


def outcomes(writing: Writing, *writes: Write) -> list[Outcome]:
    return [v.outcome for v in writing.write(writes)]


def die_between_the_commits(writing: Writing) -> None:
    writing._guard.commit()
    writing.close(wait=False)


def test_after_a_crash_between_the_commits_the_same_write_is_taken_and_an_older_one_not(
    folder: Path,
) -> None:
    writing = opened(folder)
    writing.write([put("kept", 5), put("gone", 5), put("old", 5)])
    writing.commit()
    writing.write([put("kept", 7), delete("gone", 7), put("new", 7), delete("never", 7)])
    die_between_the_commits(writing)
    assert held(folder) == {"kept": 5, "gone": 5, "old": 5}

    writing = opened(folder)
    older = [put(k, 6) for k in ("kept", "gone", "new", "never")]
    assert outcomes(writing, *older) == [Outcome.STALE] * 4
    same = [put("kept", 7), delete("gone", 7), put("new", 7)]
    assert outcomes(writing, *same) == [Outcome.APPLIED] * 3
    assert outcomes(writing, put("old", 5)) == [Outcome.STALE]
    writing.commit()
    writing.close(wait=True)
    assert held(folder) == {"kept": 7, "new": 7, "old": 5}


def test_after_a_crash_behind_both_commits_the_same_write_is_stale(folder: Path) -> None:
    writing = opened(folder)
    writing.write([put("a", 5)])
    writing._guard.commit()
    writing._writer.commit()
    writing.close(wait=False)

    writing = opened(folder)
    assert outcomes(writing, put("a", 5)) == [Outcome.STALE]
    writing.close(wait=True)
    assert held(folder) == {"a": 5}


def test_a_crash_before_both_commits_leaves_no_trace(folder: Path) -> None:
    writing = opened(folder)
    writing.write([put("a", 5)])
    writing.close(wait=False)

    writing = opened(folder)
    assert outcomes(writing, put("a", 3)) == [Outcome.APPLIED]
    writing.commit()
    writing.close(wait=True)
    assert held(folder) == {"a": 3}


def test_a_second_crash_while_catching_up_changes_nothing(folder: Path) -> None:
    writing = opened(folder)
    writing.write([put("a", 5)])
    writing.commit()
    writing.write([put("a", 7)])
    die_between_the_commits(writing)
    for _ in range(3):
        writing = opened(folder)
        writing.close(wait=False)
    writing = opened(folder)
    assert outcomes(writing, put("a", 6)) == [Outcome.STALE]
    assert outcomes(writing, put("a", 7)) == [Outcome.APPLIED]
    writing.close(wait=False)


def test_thousands_of_doubtful_keys_are_looked_up_in_pages(folder: Path) -> None:
    keys = [f"k{n:05}" for n in range(2500)]
    writing = opened(folder)
    writing.write([put(k, 2, author(k)) for k in keys])
    die_between_the_commits(writing)
    writing = opened(folder)
    assert set(outcomes(writing, *(put(k, 1, author(k)) for k in keys))) == {Outcome.STALE}
    assert set(outcomes(writing, *(put(k, 2, author(k)) for k in keys))) == {Outcome.APPLIED}
    writing.commit()
    writing.close(wait=True)
    assert len(held(folder)) == 1000
    reading = Reading(1, folder, "author")
    assert len(tantivy_index.scan(folder, reading, None, 9999)) == 2500
