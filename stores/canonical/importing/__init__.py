"""Bulk import: files → staging → checks → one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stores.canonical.importing.options import ImportOptions, ImportReport, Mode, Progress, RowLimit

if TYPE_CHECKING:
    from stores.canonical.importing.run import run_import

__all__ = ["ImportOptions", "ImportReport", "Mode", "Progress", "RowLimit", "run_import"]


def __getattr__(name: str) -> Any:
    """`run_import` on first use: pyarrow takes long to load, and most commands import nothing."""
    if name == "run_import":
        from stores.canonical.importing.run import run_import

        return run_import
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
