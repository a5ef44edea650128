"""docs/reference/conformance.md: what each store and change source was seen to keep, a line for
each test.

`make conformance-table` runs the suite and writes the page from what happened. A unit test holds
the page against the suite and the rows of BACKENDS, so that it cannot get old unseen; after a new
test `python -m tests.conformance.table` writes what a run must show where all of the suite passes.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType

import tests.conformance
from tests.conformance.store_backends import BACKENDS
from tests.conformance.test_change_sources import SOURCES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "conformance.md"
HOLDS = "holds"
FIXTURES = {"place": None, "document_place": "documents", "search_place": "search"}
"""A test's fixture → the role of the stores that it runs on, None: both."""
HEAD = """# What each store and source keeps

Made by `make conformance-table` from a run of `tests/conformance`: one suite, the real stores, each line a test
of it. "–": not asked of this kind of store. What a store lacks stands with its reason; nothing else is left out.
The test server for MongoDB speaks its protocol but is not MongoDB: [stores](stores.md#mongodb) says what that
leaves open.
"""

Cells = Mapping[tuple[str, str], str]
"""(test's function as module.name, store or source) → what the cell says."""


@dataclass(frozen=True, slots=True)
class Line:
    """A test. `columns`: the stores or sources that it runs on."""

    module: str
    name: str
    columns: tuple[str, ...]
    promise: str

    @property
    def id(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def text(self) -> str:
        return self.name.removeprefix("test_").replace("_", " ")


def sections() -> dict[str, list[Line]]:
    """What a module of the suite is about → its tests."""
    found = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(tests.conformance.__path__)):
        if module.startswith("test_"):
            loaded = importlib.import_module(f"tests.conformance.{module}")
            about = " ".join((loaded.__doc__ or "").split()).partition(". ")[0].rstrip(".")
            found[about] = [
                _line(module, name, function)
                for name, function in vars(loaded).items()
                if name.startswith("test_") and inspect.isfunction(function)
            ]
    return found


def _line(module: str, name: str, function: FunctionType) -> Line:
    asked = set(inspect.signature(function).parameters) & set(FIXTURES)
    if asked:
        role = FIXTURES[asked.pop()]
        columns = tuple(b.name for b in BACKENDS if role in (None, b.role))
    else:
        columns = tuple(SOURCES)
    marks = getattr(function, "pytestmark", [])
    promise = next((m.args[0] for m in marks if m.name == "promise"), "")
    return Line(module, name, columns, promise)


def lack(backend: str, reason: str) -> str:
    """What `conftest` skips a test with."""
    return f"{backend} lacks this: {reason}"


def expected() -> dict[tuple[str, str], str]:
    """Every cell, where all holds but for what the rows of BACKENDS say is lacking."""
    lacks = {b.name: b.lacks for b in BACKENDS}
    return {
        (line.id, column): _lacks(lacks.get(column, {}).get(line.promise, ""))
        for lines in sections().values()
        for line in lines
        for column in line.columns
    }


def _lacks(reason: str) -> str:
    return f"lacks: {reason}" if reason else HOLDS


def page(cells: Cells) -> str:
    """The page; a cell that nobody has filled says so."""
    text = HEAD
    stores = tuple(b.name for b in BACKENDS)
    for about, lines in sections().items():
        columns = tuple(SOURCES) if set(lines[0].columns) <= set(SOURCES) else stores
        text += f"\n## {about}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n"
        for line in lines:
            said = [
                cells.get((line.id, c), "not run") if c in line.columns else "–" for c in columns
            ]
            text += f"| {line.text} | {' | '.join(said)} |\n"
    return text + _sums(cells, (*stores, *SOURCES))


def _sums(cells: Cells, columns: tuple[str, ...]) -> str:
    text = "\n## Sums\n\n| | tests | hold | lack |\n|---|---|---|---|\n"
    for column in columns:
        said = Counter(value for (_, where), value in cells.items() if where == column)
        lacking = sum(n for value, n in said.items() if value.startswith("lacks"))
        text += f"| {column} | {said.total()} | {said[HOLDS]} | {lacking} |\n"
    return text


class Results:
    """Gathers the cells from the reports of a run."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[str, str], list[str]] = {}

    def add(self, node: str, when: str, outcome: str, reason: str) -> None:
        """A report: the test's id, its phase, "passed", "failed" or "skipped" with the reason."""
        file, _, rest = node.partition("::")
        name, _, parameters = rest.partition("[")
        known = {*(b.name for b in BACKENDS), *SOURCES}
        column = next((p for p in parameters.rstrip("]").split("-") if p in known), "")
        module = file.rpartition("/")[2].removesuffix(".py")
        said = self._outcomes.setdefault((f"{module}.{name}", column), [])
        if outcome == "failed":
            said.append("FAILS")
        elif outcome == "skipped":
            marker = lack(column, "")
            said.append(
                f"lacks: {reason.partition(marker)[2]}"
                if marker in reason
                else f"not run: {reason}"
            )
        elif when == "call":
            said.append(HOLDS)

    def cells(self) -> dict[tuple[str, str], str]:
        """The worst of what each test's cases said."""
        return {
            where: next((s for s in said if s != HOLDS), HOLDS)
            for where, said in self._outcomes.items()
            if said
        }


if __name__ == "__main__":
    PAGE.write_text(page(expected()), "utf-8")
