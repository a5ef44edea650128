"""Bulk import: files → staging → checks → one transaction."""

from stores.canonical.importing.options import ImportOptions, ImportReport, Limit, Mode, Progress
from stores.canonical.importing.run import run_import

__all__ = ["ImportOptions", "ImportReport", "Limit", "Mode", "Progress", "run_import"]
