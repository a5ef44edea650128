"""Positions are read and written as Postgres writes them."""

from __future__ import annotations

import pytest

from stores.lsn import format_lsn, parse_lsn


@pytest.mark.parametrize(("text", "lsn"), [("0/0", 0), ("16/B374D848", 0x16B374D848)])
def test_positions_are_written_as_postgres_writes_them(text: str, lsn: int) -> None:
    assert parse_lsn(text) == lsn
    assert format_lsn(lsn) == text
