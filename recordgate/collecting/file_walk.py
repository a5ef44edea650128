"""Files as a source: each that is new or another than before is imported, and noted with its rows'
merge."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recordgate.collecting import books
from recordgate.collecting.books import Lease
from recordgate.collecting.merging import LOCK_WAIT, row_limit
from recordgate.collecting.walk import Outcome, Surroundings
from stores.canonical.connect import Connection
from stores.canonical.importing import ImportOptions, ImportReport, Mode
from stores.canonical.importing.run import ImportSession
from stores.crash_points import crash_point
from stores.errors import SourceError

MOST_FILES = 200
SETTLED = 1.0
"""Seconds for which a file must not have been written to: one that is being written is left for
later."""


class FileWalk:
    """A walk of a leased source whose records lie in files."""

    def __init__(
        self, at: Surroundings, connection: Connection, session: ImportSession, lease: Lease
    ) -> None:
        record = at.contract.types[lease.name]
        assert record.collect is not None
        assert record.collect.file is not None
        self._at, self._connection, self._session, self._lease = at, connection, session, lease
        self._record, self._collect, self._file = record, record.collect, record.collect.file
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Import what is new. Raises SourceError where there is no file, and what an import
        raises."""
        begun = time.time()
        found = self._present()
        known: dict[str, Any] = self._lease.cursor.get("files", {})
        changed = [p for p, mark in found.items() if known.get(p) != mark]
        settled = [p for p in changed if begun - found[p][1] / 1e9 >= SETTLED]
        if self._collect.deletes.by == "full":
            if changed and len(settled) == len(changed):
                self._import(list(found), found, Mode.REPLACE, begun)
        else:
            for path in settled:
                self._import([path], {**known, path: found[path]}, Mode.UPSERT, None)
                known = self._lease.cursor["files"]
        if len(settled) == len(changed):
            with self._connection.transaction():
                to = {
                    "files": {
                        p: m for p, m in self._lease.cursor.get("files", {}).items() if p in found
                    }
                }
                books.move(self._connection, self._lease, to, as_of=begun)
            self._lease.cursor = to
        return self.outcome

    def _present(self) -> dict[str, list[int]]:
        """path → [size, time of the last write, inode], in the order of names."""
        named = sorted(glob.glob(self._file.path, recursive=True)) or [self._file.path]
        if len(named) > MOST_FILES:
            raise SourceError(f"{len(named)} files, more than {MOST_FILES}", code="TOO_MANY_PAGES")
        found = {}
        for path in named:
            try:
                found[os.path.abspath(path)] = mark_of(path)
            except OSError as error:
                raise SourceError(
                    f"{path} cannot be read: {error.strerror}",
                    hint="what it gave before stays",
                    code="SOURCE_DOWN",
                ) from None
        return found

    def _import(
        self, paths: Sequence[str], marks: dict[str, Any], mode: Mode, as_of: float | None
    ) -> None:
        to = {"files": marks}

        def moved(connection: Connection) -> None:
            if any(_gone_or_changed(p, marks[p]) for p in paths):
                raise SourceError("a file changed while it was read", code="SOURCE_DOWN")
            books.move(
                connection, self._lease, to, as_of=as_of, full=as_of is not None, pages=len(paths)
            )
            crash_point("collect-merging")

        options = ImportOptions(
            mode=mode,
            format=self._file.format,
            columns={str(m.path[0]): m.property for m in self._collect.map},
            max_rejects=row_limit(self._collect.max_rejects),
            max_deletes=row_limit(self._collect.max_deletes),
            batch=f"{self._lease.name}:{self._lease.epoch}:{time.time_ns()}",
            lock_wait=LOCK_WAIT,
        )
        report = self._session.run(
            self._record.name, [Path(p) for p in paths], options, in_the_merge=moved
        )
        crash_point("collect-merged")
        self._lease.cursor = to
        self._counted(report, len(paths))

    def _counted(self, report: ImportReport, files: int) -> None:
        if report.state == "refused":
            raise SourceError(report.problem, hint=report.hint, code="REFUSED")
        self.outcome.pages += files
        self.outcome.read += report.read
        self.outcome.add(report)
        books.count(
            self._connection, self._lease.name, rejected=report.rejected, deleted=report.deleted
        )


def mark_of(path: str) -> list[int]:
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _gone_or_changed(path: str, mark: list[int]) -> bool:
    try:
        return mark_of(path) != mark
    except OSError:
        return True
