"""A source of 95 stations on a real HTTP server, and what starts to collect it into a real
Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.collect_world import CollectWorld, Start, stations
from tests.hostile_source import HostileSource, hostile_source


@pytest.fixture
def source() -> Iterator[HostileSource]:
    with hostile_source(HostileSource(stations(95))) as found:
        yield found


@pytest.fixture
def start(database: str, tmp_path: Path, source: HostileSource) -> Start:
    def started(pages: dict[str, Any] | None = None, **more: Any) -> CollectWorld:
        http = {
            "url": f"{source.url}/v1/stations",
            "records": "$.data[*]",
            "pages": pages or {"by": "cursor", "next": "$.meta.next", "total": "$.meta.total"},
            **more.pop("http", {}),
        }
        return CollectWorld(database, tmp_path, {"http": http, "every": "1m", **more})

    return started
