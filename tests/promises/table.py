"""The table of promises: which was kept on which store with which change source, and what was done
to break it.

A promise's test says by `record_property("injected", …)` what it did. The run prints the table at
its end, and with `--promise-table FILE` writes it there; a cell that was not run keeps what FILE
says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PROMISES = {
    "converges": "Converges",
    "no_resurrection": "No resurrection",
    "no_going_back": "No going back",
    "read_your_writes": "Read your writes",
    "honest_freshness": "Honest freshness",
    "store_may_fail": "A store may fail",
    "reload_unseen": "Reload unseen",
    "bad_rows_stop_nothing": "Bad rows stop nothing",
    "nothing_by_half": "Nothing by half",
    "only_what_you_may_see": "Only what you may see",
}
STORES = ("embedded", "elasticsearch", "mongodb")
SOURCES = ("pgoutput", "debezium")
CELLS = [(stores, source) for stores in STORES for source in SOURCES]
_TEST = re.compile(r"test_promise_(?P<promise>\w+)\[(?P<stores>\w+)-(?P<source>\w+)\]")
_WORST = ("failed", "skipped", "kept")


@dataclass(slots=True)
class Row:
    """`outcomes`: (stores, source) → kept, skipped or failed. `injected`: what was done, each
    once."""

    outcomes: dict[tuple[str, str], str] = field(default_factory=dict)
    injected: dict[str, None] = field(default_factory=dict)


def rows_of(reports: Iterable[pytest.TestReport]) -> dict[str, Row]:
    """Promise → its row, of those that were run."""
    rows: dict[str, Row] = {}
    for report in reports:
        found = _TEST.search(report.nodeid)
        if found is None:
            continue
        row = rows.setdefault(found["promise"], Row())
        outcome = "kept" if report.passed else report.outcome
        cell = (found["stores"], found["source"])
        row.outcomes[cell] = min(outcome, row.outcomes.get(cell, "kept"), key=_WORST.index)
        for name, value in report.user_properties:
            if name == "injected":
                row.injected |= dict.fromkeys(str(value).split("; "))
    return rows


def markdown(rows: dict[str, Row]) -> str:
    """The table as a page of the documentation."""
    lines = [
        "# The promises, tried",
        "",
        "What `pytest tests -k promise` found when it was last written here (`--promise-table FILE`). Each promise is"
        " tried on the embedded pair (Tantivy and SQLite), Elasticsearch and a server of MongoDB's protocol, with changes"
        " from pgoutput and from Debezium on Kafka: a real worker in a process of its own on a real Postgres. What the"
        " promises do not cover: [what recordgate promises](../explanation/promises.md).",
        "",
        "| promise | " + " | ".join(f"{stores}, {source}" for stores, source in CELLS) + " |",
        "|---|" + "---|" * len(CELLS),
    ]
    for name, title in PROMISES.items():
        row = rows.get(name, Row())
        outcomes = [row.outcomes.get(cell, "not run") for cell in CELLS]
        lines.append(f"| *{title}* | " + " | ".join(outcomes) + " |")
    lines += ["", "## What was done to break them", ""]
    for name, title in PROMISES.items():
        injected = rows.get(name, Row()).injected
        lines.append(f"- *{title}*: " + ("; ".join(injected) or "nothing") + ".")
    return "\n".join(lines) + "\n"


def read(text: str) -> dict[str, Row]:
    """The rows of a page that `markdown` made."""
    rows: dict[str, Row] = {}
    for name, title in PROMISES.items():
        row = rows[name] = Row()
        for found in re.findall(rf"^\| \*{title}\* \|(.*)\|$", text, re.MULTILINE):
            outcomes = (cell.strip() for cell in found.split("|"))
            row.outcomes = {c: o for c, o in zip(CELLS, outcomes, strict=True) if o != "not run"}
        for found in re.findall(rf"^- \*{title}\*: (.*)\.$", text, re.MULTILINE):
            row.injected = dict.fromkeys(found.split("; ")) if found != "nothing" else {}
    return rows


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--promise-table", metavar="FILE", help="write the table of promises to FILE")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    reports = [
        report
        for outcome in ("passed", "failed", "skipped", "error")
        for report in terminalreporter.getreports(outcome)
        if isinstance(report, pytest.TestReport)
        and (report.when == "call" or (report.when == "setup" and not report.passed))
    ]
    rows = rows_of(reports)
    if not rows:
        return
    terminalreporter.section("promises")
    width = max(map(len, PROMISES))
    for name, row in sorted(rows.items(), key=lambda r: list(PROMISES).index(r[0])):
        cells = [
            f"{stores}/{source} {row.outcomes.get((stores, source), 'not run')}"
            for stores, source in CELLS
        ]
        terminalreporter.write_line(f"{name:{width}}  {'  '.join(cells)}")
        terminalreporter.write_line(f"{'':{width}}  injected: {'; '.join(row.injected)}")
    file = config.getoption("--promise-table")
    if file:
        path = Path(file)
        before = read(path.read_text("utf-8")) if path.exists() else {}
        for name, row in before.items():
            now = rows.setdefault(name, Row())
            now.outcomes = row.outcomes | now.outcomes
            now.injected = row.injected | now.injected
        path.write_text(markdown(rows), "utf-8")
        terminalreporter.write_line(f"written to {file}")
