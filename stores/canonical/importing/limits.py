"""Decides whether a checked batch may go on: limits of rejects and of deletes. Pure."""

from __future__ import annotations

from stores.canonical.importing.options import ImportOptions, Mode

FREE_DELETES = 100
"""Records that mode replace may delete without being asked, where half of all is fewer."""


def problem_of(
    options: ImportOptions,
    *,
    read: int,
    bad: int,
    deletes: int,
    existing: int,
    replaces_by_nothing: bool,
) -> tuple[str, str] | None:
    """Return what is wrong and what to do, or None. `bad` and `deletes` count rows, `existing`
    counts records."""
    if options.max_rejects is not None:
        allowed = options.max_rejects.rows(read)
        if bad > allowed:
            return (
                f"{bad:,} of {read:,} rows are bad, more than --max-rejects {options.max_rejects}",
                "correct the rows (--rejects FILE lists every reason), or raise the limit",
            )
    elif bad and bad == read:
        return (
            f"every row is bad ({read:,} of {read:,})",
            "check that file and type belong together; --rejects FILE lists every reason",
        )
    if replaces_by_nothing and options.max_deletes is None:
        return (
            "the file is empty, so mode replace would delete every record",
            "pass --max-deletes 100% if that is intended",
        )
    if options.max_deletes is not None:
        if deletes > options.max_deletes.rows(existing):
            return (
                f"{deletes:,} of {existing:,} records would be deleted,"
                f" more than --max-deletes {options.max_deletes}",
                "check that the file is complete, or raise the limit",
            )
    elif options.mode is Mode.REPLACE and deletes > max(FREE_DELETES, existing // 2):
        return (
            f"{deletes:,} of {existing:,} records would be deleted, more than half",
            "check that the file is complete, or allow it with --max-deletes",
        )
    return None
