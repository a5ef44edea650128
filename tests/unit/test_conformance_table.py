"""docs/reference/conformance.md is what the suite and the stores' rows say, and shows what a run
sees."""

from __future__ import annotations

from tests.conformance.store_backends import BACKENDS
from tests.conformance.table import HOLDS, PAGE, Results, expected, lack, page, sections


def test_the_page_is_as_the_suite_and_the_stores_rows_are() -> None:
    assert PAGE.read_text("utf-8") == page(expected()), "run `make conformance-table`"


def test_every_lack_is_of_a_promise_that_is_tested() -> None:
    tested = {line.promise for lines in sections().values() for line in lines}
    for backend in BACKENDS:
        assert set(backend.lacks) <= tested, backend.name


def test_a_cell_says_the_worst_of_what_a_run_saw() -> None:
    results = Results()
    node = "tests/conformance/test_store_scan.py::test_x[{}]".format
    results.add(node("sqlite-1"), "call", "passed", "")
    results.add(node("sqlite-2"), "call", "failed", "")
    results.add(node("tantivy-1"), "setup", "passed", "")
    results.add(node("tantivy-1"), "call", "passed", "")
    results.add(node("mongodb"), "setup", "skipped", "Skipped: " + lack("mongodb", "it is a test"))
    results.add(node("elasticsearch"), "setup", "skipped", "Skipped: no Java")
    assert results.cells() == {
        ("test_store_scan.test_x", "sqlite"): "FAILS",
        ("test_store_scan.test_x", "tantivy"): HOLDS,
        ("test_store_scan.test_x", "mongodb"): "lacks: it is a test",
        ("test_store_scan.test_x", "elasticsearch"): "not run: Skipped: no Java",
    }
