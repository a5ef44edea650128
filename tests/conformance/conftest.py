"""`place`: each store in turn, empty; `document_place` and `search_place`: those of one kind."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.conformance.store_backends import BACKENDS, Backend, Place


def _place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    backend: Backend = request.param
    marker = request.node.get_closest_marker("promise")
    reason = backend.lacks.get(marker.args[0]) if marker else None
    if reason:
        pytest.skip(f"{backend.name} lacks this: {reason}")
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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "promise(name): what of a store is tested; a backend's row may lack it"
    )
