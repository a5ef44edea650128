"""docs/reference/stores.md says of every store what its adapter says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stores.protocols import Capability
from stores.registry import REGISTRY, open_store
from tests.conformance.store_backends import BACKENDS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "stores.md").read_text("utf-8")
EXAMPLE = {
    "elasticsearch": "elasticsearch://localhost:9200",
    "elasticsearch+https": "elasticsearch+https://localhost:9200",
    "mongodb": "mongodb://localhost:27017/db",
}
KINDS = ("sqlite", "mongodb", "tantivy", "elasticsearch")


def rows(first: str) -> dict[str, list[str]]:
    """The table whose first head cell is `first`, by its first column."""
    table = PAGE.split(f"| {first} |", 1)[1].split("\n\n", 1)[0].splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in table]
    head, body = [c for c in cells[0] if c], cells[2:]
    assert all(len(line) == len(head) + 1 for line in body)
    return {line[0].strip("`"): line[1:] for line in body}


def test_every_scheme_is_listed_with_its_kind_and_extra() -> None:
    listed = {name.rstrip(":"): cells for name, cells in rows("scheme").items()}
    assert set(listed) == set(REGISTRY)
    for scheme, (adapter, kind, extra, where) in listed.items():
        row = REGISTRY[scheme]
        assert (kind, extra.strip("`")) == (row.role, row.extra or "–")
        assert adapter in KINDS
        assert where


@pytest.mark.parametrize("scheme", sorted({b.name for b in BACKENDS}))
def test_every_capability_is_listed_as_the_adapter_has_it(scheme: str, tmp_path: Path) -> None:
    store = open_store(EXAMPLE.get(scheme, f"{scheme}:"), tmp_path)
    column = KINDS.index(store.kind)
    listed = rows("capability")
    assert set(listed) == {c.value for c in Capability}
    for capability in Capability:
        cell = listed[capability.value][column]
        if capability in store.capabilities:
            assert cell == "yes", capability
        else:
            assert re.match(r"no: \w+", cell), (
                f"{capability} of {scheme}: lacks, and says no reason"
            )


def test_every_store_under_the_suite_is_registered() -> None:
    assert {b.name for b in BACKENDS} <= set(REGISTRY)
    assert {b.role for b in BACKENDS} == {"documents", "search"}
    for backend in BACKENDS:
        assert all(backend.lacks.values()), "a lack without a reason"
