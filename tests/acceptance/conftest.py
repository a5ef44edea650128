"""Somebody who does what pages say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shown import Reader


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader in an empty folder; whatever a page leaves running is stopped."""
    reader = Reader(tmp_path)
    yield reader
    reader.close()
