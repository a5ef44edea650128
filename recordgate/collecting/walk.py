"""One walk along a source: pages are fetched, landed and merged; the cursor moves in the merge's
own transaction.

A collector that dies leaves either nothing (the page is asked again), or a landing that the next
one merges, or a merge that is whole. A walk that was not whole deletes nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from recordgate.collecting import books, drift, landing
from recordgate.collecting.addresses import Allowed
from recordgate.collecting.books import Lease
from recordgate.collecting.http_source import HttpPages, Page, higher
from recordgate.collecting.merging import filled, import_lines, key_of, row_limit
from recordgate.collecting.shaping import Shaper, clean, lines, shaped, shaper_of
from recordgate.collecting.unseen import count_of, unseen
from stores.canonical.connect import Connection
from stores.canonical.importing import ImportOptions, ImportReport, Mode, RowLimit
from stores.canonical.importing.run import ImportSession, InTheMerge
from stores.contract.json_paths import first
from stores.contract.model import Contract, RecordType
from stores.crash_points import crash_point
from stores.errors import SourceError

LAND_ROWS = 5000
"""Records that are merged together: pages are gathered up to it."""
LAND_SECONDS = 2.0
"""Seconds after which gathered pages are merged, however few."""
END = {"end": True}
"""The position after the last page: what is left are the deletes and the end of the walk."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The surroundings of a collector. `sleep` raises where the collector is to end."""

    url: str
    contract: Contract
    data_dir: Path
    allowed: Allowed
    keep: float = 14 * 86400.0
    sleep: Callable[[float], None] = time.sleep
    land_rows: int = LAND_ROWS


@dataclass(slots=True)
class Outcome:
    """The outcome of a walk. `incomplete` says why nothing was deleted, where deletes were due."""

    pages: int = 0
    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    incomplete: str = ""

    def add(self, report: ImportReport) -> None:
        self.inserted += report.inserted
        self.updated += report.updated
        self.unchanged += report.unchanged
        self.deleted += report.deleted
        self.rejected += report.rejected


class Walk:
    """A walk of a leased source; `connection` is for the books, `session` imports."""

    def __init__(
        self, at: Surroundings, connection: Connection, session: ImportSession, lease: Lease
    ) -> None:
        record = at.contract.types[lease.name]
        assert record.collect is not None
        self._at, self._connection, self._session, self._lease = at, connection, session, lease
        self._record: RecordType = record
        self._collect = record.collect
        self._shaper: Shaper = shaper_of(record.collect, record)
        self._landings = landing.Landings(at.data_dir, lease.name)
        self._shape: drift.Shape = lease.row["shape"]
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Walk from the cursor to the end. Raises SourceError, FencedError, and the errors of an
        import."""
        self._merge_what_landed()
        self._begin()
        pages = HttpPages(self._collect, self._at.allowed, self._sleep)
        try:
            self._follow(pages)
        finally:
            pages.close()
        return self.outcome

    def _sleep(self, seconds: float) -> None:
        """Sleep in parts and keep the lease."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not self._lease.fresh:
                books.renew(self._connection, self._lease)
            self._at.sleep(min(left, 2.0))

    # The walk ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """A new walk where none is under way: whole, or of what changed since the one before."""
        cursor = self._lease.cursor
        if "at" in cursor:
            return
        since, deletes = cursor.get("since"), self._collect.deletes
        age = self._lease.row["full_age"]
        full = since is None or (deletes.by == "full" and (age is None or age >= deletes.every))
        begun = {
            "walk": cursor.get("walk", 0) + 1, "full": full, "at": {}, "rows": 0, "pages": 0,
            "since": since, "high": since, "total": None, "begun": time.time(),
        }  # fmt: skip
        with self._connection.transaction():
            books.move(self._connection, self._lease, begun)
        self._lease.cursor = begun

    def _follow(self, pages: HttpPages) -> None:
        cursor = self._lease.cursor
        if cursor["at"] == END:
            self._finish()
            return
        since = None if cursor["full"] else cursor["since"]
        held: list[Page] = []
        begun = time.monotonic()
        walk = pages.pages(cursor["at"], cursor["rows"], cursor["pages"], since)
        while True:
            try:
                page = next(walk, None)
            except SourceError as error:
                if held:
                    self._land(held)  # What came whole is not asked for again.
                if error.detail_code == "POSITION_GONE" and self._lease.cursor["at"]:
                    self._start_again()
                raise
            if page is None:
                return
            held.append(page)
            rows = sum(len(p.records) for p in held)
            due = rows >= self._at.land_rows or time.monotonic() - begun > LAND_SECONDS
            if page.after is None:
                self._land(held)
                self._finish()
                return
            if due:
                self._land(held)
                held, begun = [], time.monotonic()
            elif not self._lease.fresh:
                books.renew(self._connection, self._lease)

    def _land(self, pages: list[Page]) -> None:
        cursor = self._lease.cursor
        records = [record for page in pages for record in page.records]
        after = pages[-1].after
        high = cursor["high"]
        if self._collect.since is not None:
            for record in records:
                high = higher(high, first(record, self._collect.since.field))
        totals = (p.total for p in reversed(pages) if p.total is not None)
        # The last landing does not end the walk: deletes and the end are a step of their own.
        to = {
            **cursor, "at": END if after is None else after, "rows": cursor["rows"] + len(records),
            "pages": cursor["pages"] + len(pages), "high": high,
            "total": next(totals, cursor["total"]),
        }  # fmt: skip
        if not records:
            with self._connection.transaction():
                books.move(self._connection, self._lease, to, pages=len(pages))
            self._lease.cursor = to
            self.outcome.pages += len(pages)
            return
        name = f"{cursor['walk']:06d}-{cursor['pages']:08d}-{secrets.token_hex(4)}"
        values = self._landings.write(name, records)
        crash_point("collect-landing")
        values |= {"walk": cursor["walk"], "pages": len(pages), "rows": len(records)}
        values["id"] = books.land(self._connection, self._lease, values, to)
        crash_point("collect-landed")
        self._merge({**values, "to_cursor": to}, records)

    def _merge_what_landed(self) -> None:
        """Merge what a collector before this one landed and did not merge. What is not on this host
        is forgotten, so that the source is asked for it again."""
        left = books.landings(
            self._connection, "source = %s AND merged_at IS NULL", self._lease.name
        )
        for found in left:
            text = landing.read(found) if found["from_cursor"] == self._lease.cursor else None
            if text is None:
                books.forget(self._connection, [found["id"]])
                if found["host"] == landing.HOST:
                    Path(found["file"]).unlink(missing_ok=True)
            else:
                self._merge(found, list(landing.records_of(text)))

    # Merging -------------------------------------------------------------------------------------

    def _merge(self, found: dict[str, Any], records: list[dict[str, Any]]) -> None:
        """Import a landing; the cursor moves with its rows."""
        number, to = found["id"], found["to_cursor"]
        shape, aside = self._judged(found, records)
        kept = [r for i, r in enumerate(records, 1) if i not in aside] if aside else records
        fields = filled(self._shaper, set(shape).union(*kept))
        rows = shaped(kept, self._shaper, self._collect, key_of(self._record), columns=fields)
        batch = f"{self._lease.name}:{number}"

        def moved(connection: Connection) -> None:
            self._set_aside(connection, batch, records, aside)
            books.move(
                connection, self._lease, to, shape=shape, pages=found["pages"], rows=found["rows"]
            )
            books.is_merged(connection, number, batch)
            crash_point("collect-merging")

        try:
            if rows.deleted:
                self._import(f"{batch}:deletes", rows.deletes, Mode.DELETE, None)
            if rows.rows:
                self._import(batch, rows.upserts, Mode.UPSERT, moved)
            else:
                with self._connection.transaction():
                    moved(self._connection)
        except SourceError:
            books.forget(self._connection, [number])  # The source may mend it: it is asked again.
            Path(found["file"]).unlink(missing_ok=True)
            raise
        crash_point("collect-merged")
        self._lease.cursor, self._shape = to, shape
        self.outcome.pages += found["pages"]
        self.outcome.read += found["rows"]
        self.outcome.rejected += len(aside)

    def _import(
        self,
        batch: str,
        data: bytes,
        mode: Mode,
        moved: InTheMerge | None,
    ) -> None:
        limit = row_limit(self._collect.max_rejects)
        options = ImportOptions(mode=mode, batch=batch, max_rejects=limit)
        self._counted(
            import_lines(self._session, self._landings, self._record, data, options, moved)
        )

    def _counted(self, report: ImportReport) -> None:
        if report.state == "refused":
            raise SourceError(report.problem, hint=report.hint, code="REFUSED")
        self.outcome.add(report)
        if report.rejected or report.deleted:
            books.count(
                self._connection, self._lease.name, rejected=report.rejected, deleted=report.deleted
            )

    # Drift ---------------------------------------------------------------------------------------

    def _judged(
        self, found: dict[str, Any], records: list[dict[str, Any]]
    ) -> tuple[drift.Shape, dict[int, drift.Change]]:
        """(the shape with this batch, the lines to set aside). Raises SourceError where the source
        is to freeze."""
        batch, number, where = drift.observed(records)
        aside: dict[int, drift.Change] = {}
        for change in drift.changes(self._shape, batch, number, where, self._shaper.tops):
            rule = getattr(self._collect.drift, change.what)
            if rule == "freeze":
                place = (
                    f" (line {change.line} of {found['file']})"
                    if change.line
                    else f" ({found['file']})"
                )
                raise SourceError(
                    f"{self._lease.name}: {change.message}{place}",
                    hint="`recordgate collect propose` shows what the contract would say;"
                    " `recordgate collect resume` takes the new shape",
                    code="DRIFT",
                )
            if rule == "quarantine" and change.what != "missing":
                aside |= self._lines_with(records, change, aside)
                if change.what == "added":
                    batch.pop(change.field, None)
                else:
                    known = self._shape[change.field]["kinds"]
                    batch[change.field]["kinds"] = [
                        k for k in batch[change.field]["kinds"] if k in known
                    ]
        return drift.merged(self._shape, batch, number), aside

    def _lines_with(
        self, records: list[dict[str, Any]], change: drift.Change, before: dict[int, drift.Change]
    ) -> dict[int, drift.Change]:
        known = self._shape.get(change.field, {}).get("kinds", [])
        found = {}
        for line, record in enumerate(records, 1):
            value = record.get(change.field)
            if value is not None and drift.kind_of(value) not in known and line not in before:
                found[line] = change
        return found

    def _set_aside(
        self,
        connection: Connection,
        batch: str,
        records: list[dict[str, Any]],
        aside: dict[int, drift.Change],
    ) -> None:
        letters = []
        for line, change in aside.items():
            row = self._shaper.row(records[line - 1])
            texts = {k: None if v is None else _text(v) for k, v in row.items()}
            reason = {
                "property": change.field, "column": change.field, "value": None, "code": "DRIFT",
                "message": change.message,
            }  # fmt: skip
            payload = {"values": texts, "cut": any(len(t or "") > 8192 for t in texts.values())}
            letters.append((self._record.name, batch, line, Jsonb([reason]), Jsonb(payload)))
        if letters:
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO recordgate.dead_letters (kind, type, batch, line, code, reasons,"
                    " payload) VALUES ('import', %s, %s, %s, 'DRIFT', %s, %s)",
                    letters,
                )

    # The end -------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """All pages are merged. Deletes of a full walk, where it was whole; then the source is as
        of its beginning."""
        cursor = self._lease.cursor
        total = cursor["total"]
        if total is not None and cursor["full"] and total != cursor["rows"]:
            self.outcome.incomplete = (
                f"the source says that it has {total:,} records, and {cursor['rows']:,} came"
            )
        done = {"walk": cursor["walk"], "since": cursor["high"]}
        gone = None
        if cursor["full"] and self._collect.deletes.by == "full" and not self.outcome.incomplete:
            gone = self._gone()
        whole = not self.outcome.incomplete

        def moved(connection: Connection) -> None:
            books.move(
                connection, self._lease, done, as_of=cursor["begun"] if whole else None,
                full=cursor["full"] and whole,
            )  # fmt: skip

        if gone:
            self._delete(gone, moved)
        else:
            with self._connection.transaction():
                moved(self._connection)
        self._lease.cursor = done

    def _gone(self) -> bytes:
        """The keys of the records that this walk did not have; none, and why, where it was not
        whole."""
        cursor = self._lease.cursor
        found = books.landings(
            self._connection,
            "source = %s AND walk = %s AND merged_at IS NOT NULL AND received_at >="
            " to_timestamp(%s)",
            self._lease.name, cursor["walk"], cursor["begun"] - 1,
        )  # fmt: skip
        texts = (landing.read(one) for one in found)
        keys = self._keys_of(texts)
        lacking = unseen(self._connection, self._record, keys)
        if self.outcome.incomplete:
            return b""
        if sum(x["rows"] for x in found) != cursor["rows"]:
            self.outcome.incomplete = "a landing of this walk is not there any more"
            return b""
        if not cursor["rows"] and lacking and not self._collect.max_deletes:
            self._start_again()
            raise SourceError(
                "the source has no record at all: every record would be deleted",
                hint="say `maxDeletes: 100%` where that is meant",
                code="REFUSED",
            )
        return lacking

    def _keys_of(self, texts: Iterable[bytes | None]) -> Iterator[list[Any]]:
        key = {f.property: f for f in self._shaper.fields}
        fields = [key[name] for name in key_of(self._record)]
        for text in texts:
            if text is None:
                self.outcome.incomplete = "a landing of this walk is not on this host any more"
                return
            for record in landing.records_of(text):
                values = (clean(first(record, f.path), f) for f in fields)
                yield [None if v is None else _text(v) for v in values]
            if not self._lease.fresh:
                books.renew(self._connection, self._lease)

    def _delete(self, keys: bytes, moved: InTheMerge) -> None:
        """Delete these, within `maxDeletes`: half of what there is, or 100 where that is more,
        unless it says else."""
        most = row_limit(self._collect.max_deletes)
        if most is None:
            half = RowLimit.parse("50%").rows(count_of(self._connection, self._record))
            most = RowLimit(count=max(100, half))
        batch = f"{self._lease.name}:walk:{self._lease.cursor['walk']}:{secrets.token_hex(4)}"
        options = ImportOptions(mode=Mode.DELETE, batch=batch, max_deletes=most)
        report = import_lines(self._session, self._landings, self._record, keys, options, moved)
        if report.state == "refused":
            self._start_again()
        self._counted(report)

    def _start_again(self) -> None:
        """The next walk begins at the beginning."""
        cursor = self._lease.cursor
        again = {"walk": cursor["walk"], "since": cursor["since"]}
        with self._connection.transaction():
            books.move(self._connection, self._lease, again)
        self._lease.cursor = again


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return lines([value]).decode().strip()
    return str(value)
