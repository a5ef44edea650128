"""Somebody who does what pages say; a way to canonical that can be shut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.gate import Way
from tests.shown import Reader


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader in an empty folder; whatever a page leaves running is stopped."""
    reader = Reader(tmp_path)
    yield reader
    reader.close()


@pytest.fixture
def way(database: str) -> Iterator[tuple[Way, str]]:
    """To canonical, and its URL by that way."""
    with psycopg.connect(database) as conn:
        port = int(conn.execute("SHOW port").fetchone()[0])  # type: ignore[index]
        user, name, password = conn.info.user, conn.info.dbname, conn.info.password
    way = Way(port)
    way.open()
    yield way, f"postgresql://{user}:{password}@127.0.0.1:{way.port}/{name}"
    way.end()
