"""The committed table of promises has every promise, on every pair of stores, with every change
source: all kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promises import test_promise_of_answers, test_promise_of_rows, test_promise_of_stores
from tests.promises.table import CELLS, PROMISES, Row, markdown, read

TABLE = Path(__file__).parents[2] / "docs/reference/promises-table.md"


def test_every_promise_has_its_test() -> None:
    modules = (test_promise_of_answers, test_promise_of_rows, test_promise_of_stores)
    found = [name for m in modules for name in vars(m) if name.startswith("test_promise_")]
    assert sorted(found) == sorted(f"test_promise_{name}" for name in PROMISES)


@pytest.mark.parametrize("name", PROMISES)
def test_the_committed_table_has_the_promise_kept_everywhere(name: str) -> None:
    row = read(TABLE.read_text("utf-8"))[name]
    assert row.outcomes == dict.fromkeys(CELLS, "kept")
    assert row.injected


def test_a_table_of_nothing_says_so() -> None:
    rows = {"converges": Row({("embedded", "pgoutput"): "failed"}, {"a kill": None})}
    text = markdown(rows)
    assert "| *Converges* | failed | not run |" in text
    assert text.count("not run") == len(PROMISES) * len(CELLS) - 1
    assert "- *Converges*: a kill." in text
    assert read(text)["converges"] == rows["converges"]
