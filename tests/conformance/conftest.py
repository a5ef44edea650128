"""`place`: each store in turn, empty; `document_place` and `search_place`: those of one kind.

Under CI a test that is skipped for anything but a lack that the store's row names has failed. With
`--conformance-table FILE` the run's outcomes become the reference page (see `table`)."""

from __future__ import annotations

import os
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest

from tests.conformance.store_backends import BACKENDS, Backend, Place
from tests.conformance.table import Results, lack, page


def _place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    backend: Backend = request.param
    marker = request.node.get_closest_marker("promise")
    reason = backend.lacks.get(marker.args[0]) if marker else None
    if reason:
        pytest.skip(lack(backend.name, reason))
    server = request.getfixturevalue(backend.server) if backend.server else ""
    place = Place(backend, tmp_path, server)
    if backend.remove is not None:
        request.addfinalizer(partial(backend.remove, place.url))
    return place


def _rows(role: str | None) -> list[object]:
    return [
        pytest.param(b, id=b.name, marks=[pytest.mark.servers] if b.server else [])
        for b in BACKENDS
        if role in (None, b.role)
    ]


@pytest.fixture(params=_rows(None))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return _place(request, tmp_path)


@pytest.fixture(params=_rows("documents"))
def document_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return _place(request, tmp_path)


@pytest.fixture(params=_rows("search"))
def search_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return _place(request, tmp_path)


TABLE: pytest.StashKey[Results] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance-table", metavar="FILE", help="write what was seen to FILE")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--conformance-table", None) and not hasattr(config, "workerinput"):
        config.stash[TABLE] = Results()
        config.pluginmanager.register(_Gathering(config.stash[TABLE]))


class _Gathering:
    def __init__(self, results: Results) -> None:
        self._results = results

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        self._results.add(report.nodeid, report.when, report.outcome, reason)


def pytest_sessionfinish(session: pytest.Session) -> None:
    results = session.config.stash.get(TABLE, None)
    if results is not None:
        file = Path(session.config.getoption("--conformance-table"))
        file.write_text(page(results.cells()), "utf-8")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if os.environ.get("CI") and report.skipped and " lacks this: " not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"under CI no store is left out: {report.longrepr}"
    return report
