"""A WAL position as a number, and as Postgres prints it (pg_lsn: two hexadecimal halves)."""

from __future__ import annotations


def parse_lsn(text: str) -> int:
    """Return the number of an LSN in Postgres' form, `16/B374D848`. Raises ValueError."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) | int(low, 16)


def format_lsn(lsn: int) -> str:
    """Return an LSN in Postgres' form."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
