"""One import from its files to its report: find or begin the batch, stage, check, decide, merge."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from stores.canonical.importing import batches, few_rows, rejects
from stores.canonical.importing.block import BlockReader, Chunk, label
from stores.canonical.importing.catalog import read_table
from stores.canonical.importing.columns import Matched, is_imported, match_columns
from stores.canonical.importing.connection import Connection, connect, translated
from stores.canonical.importing.gate import Gate, GateClosed
from stores.canonical.importing.limits import problem_of
from stores.canonical.importing.merge import Merged, MergePlan, forecast, merge
from stores.canonical.importing.options import (
    ImportOptions,
    ImportReport,
    Mode,
    Progress,
    Source,
)
from stores.canonical.importing.readers import close_readers, open_readers
from stores.canonical.importing.row_checks import check_loose, create_reasons
from stores.canonical.importing.set_checks import check_sets
from stores.canonical.importing.staging import (
    Filler,
    ProofError,
    Rules,
    Staging,
    analyze,
    create,
    drop,
    rules_for,
)
from stores.contract.model import Contract, RecordType
from stores.crash_points import crash_point
from stores.errors import (
    ConflictError,
    InputError,
    RecordgateError,
    StoreUnavailable,
)

_DISTURBED = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)
"""The errors of a merge where another writer has changed what the checks had seen."""
_ATTEMPTS = 3
"""The number of times that a merge which other writers disturb is checked and tried."""


def no_progress(stage: str, done: int, total: int | None) -> None:
    return None


def run_import(
    url: str,
    contract: Contract,
    type_name: str,
    files: Sequence[Source],
    options: ImportOptions | None = None,
    progress: Progress = no_progress,
) -> ImportReport:
    """Import `files` into a type; blocks. Raises RecordgateError where the input, the surroundings
    or another import make it impossible; a batch refused by its limits is a report of state
    `refused`."""
    with ImportSession(url, contract) as session:
        return session.run(type_name, files, options, progress)


InTheMerge = Callable[[Connection], None]
"""A last step in the transaction that merges a batch; where it raises, nothing is merged."""


class ImportSession:
    """A connection that imports one batch after the other, and so pays once for what it needs. Of
    one thread at a time; it connects when first asked, and again after its connection was lost."""

    def __init__(self, url: str, contract: Contract) -> None:
        self._url, self._contract = url, contract
        self._connection: Connection | None = None

    def __enter__(self) -> ImportSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def run(
        self,
        type_name: str,
        files: Sequence[Source],
        options: ImportOptions | None = None,
        progress: Progress = no_progress,
        in_the_merge: InTheMerge | None = None,
    ) -> ImportReport:
        """Import as `run_import` does. `in_the_merge` is not called for a batch that is refused or
        was done before."""
        options = options or ImportOptions()
        record = self._contract.type(type_name)
        if record is None:
            raise InputError(
                f"the contract has no type {type_name!r}",
                hint=f"its types are {', '.join(self._contract.types)}",
            )
        started = time.monotonic()
        with translated(self._contract):
            connection = self._connected()
            importer = _Import(
                url=self._url,
                connection=connection,
                contract=self._contract,
                record=record,
                files=list(files),
                options=options,
                progress=progress,
                in_the_merge=in_the_merge,
            )
            try:
                report = importer.run()
                batches.unlock(connection)
            except BaseException:
                self.close()  # and its locks with it
                raise
        report.seconds = round(time.monotonic() - started, 3)
        return report

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url)
        return self._connection


class _Import:
    """The state of one run; `connection` holds the type's lock."""

    def __init__(
        self,
        *,
        url: str,
        connection: Connection,
        contract: Contract,
        record: RecordType,
        files: list[Source],
        options: ImportOptions,
        progress: Progress,
        in_the_merge: InTheMerge | None,
    ) -> None:
        self._in_the_merge = in_the_merge
        self._few: few_rows.Work | None = None
        """The whole batch, where it goes the light way."""
        self._gate_role: str | None = None
        self._few_staging: Staging | None = None
        self._url, self._connection = url, connection
        self._record, self._files = record, files
        self._options, self._progress = options, progress
        self._gate = Gate(contract, record, options) if options.gate and record.gate else None
        self._print = batches.fingerprint(record.name, files, options)
        self._found = self._find()
        self._table = read_table(connection, contract, record)
        self._distinct_keys = False
        """The reader has seen already that no key comes twice."""

    def run(self) -> ImportReport:
        self._same_purpose()
        if self._found is not None and self._found["state"] == "done":
            return batches.earlier_report(self._found)
        batches.lock_type(
            self._connection, self._record.schema, self._record.table, self._options.lock_wait
        )
        if self._options.batch:
            batches.lock_batch(self._connection, self._options.batch, self._options.lock_wait)
        # The one that held the lock may have been this batch.
        self._found = self._find()
        self._same_purpose()
        if self._found is not None and self._found["state"] == "done":
            return batches.earlier_report(self._found)
        resumable = self._resumable()
        batch = (
            self._options.batch or (resumable or {}).get("id") or batches.new_id(self._record.name)
        )
        batches.sweep(self._connection, self._record.name, keep=batch)
        try:
            staging, report = self._staged(batch, resumable)
            if self._few is not None:
                return self._at_once(staging, report, self._few)
            return self._decide(staging, report)
        except StoreUnavailable:
            raise
        except (RecordgateError, psycopg.Error) as error:
            if not isinstance(error, psycopg.OperationalError) and not self._connection.broken:
                if self._few_staging is not None:
                    self._begin(batch, self._few_staging)  # went with its transaction
                batches.failed(self._connection, batch, str(error))
            raise

    def _find(self) -> dict[str, Any] | None:
        """Return the record of this batch, or None if there is none. A dry run has no batch."""
        if self._options.dry_run:
            return None
        return batches.find(self._connection, self._options.batch, self._print)

    def _same_purpose(self) -> None:
        found = self._found
        if found is not None and (found["type"], found["mode"]) != (
            self._record.name,
            self._options.mode.value,
        ):
            raise ConflictError(
                f"the batch {found['id']} is an import of {found['type']} in mode {found['mode']}",
                hint="choose another --batch id for this import",
            )

    # Staging --------------------------------------------------------------------------------------

    def _resumable(self) -> dict[str, Any] | None:
        """Return the batch of these files that an earlier run staged completely, or None."""
        found = self._found
        if found is None or found["state"] not in ("staged", "merging"):
            return None
        if found["fingerprint"] != self._print:
            return None
        staging = self._staging_of(found)
        if staging is None:
            return None
        if not batches.rows_still_there(self._connection, staging, found["rows"]):
            return None
        return found

    def _staging_of(self, found: dict[str, Any]) -> Staging | None:
        """Return the staging tables of a recorded batch, or None if the contract has changed
        since."""
        columns: list[Matched] = []
        for index, header, name in found["options"]["columns"]:
            prop = self._record.by_name.get(name)
            if prop is None:
                return None
            columns.append(self._held_to_not_null(Matched(index, header, prop)))
        return Staging(found["staging_table"], tuple(columns)) if columns else None

    def _staged(self, batch: str, found: dict[str, Any] | None) -> tuple[Staging, ImportReport]:
        report = ImportReport(batch, self._record.name, self._options.mode.value)
        if found is not None:
            staging = self._staging_of(found)
            assert staging is not None
            report.read, report.resumed = found["rows"], True
            return staging, report
        try:
            staging, report.read = self._read(batch, prove=True)
        except ProofError:
            if "-" in self._files:
                raise InputError(
                    "Postgres refused a value that had passed the checks, and standard input"
                    " cannot be read twice",
                    hint="import it from a file",
                ) from None
            staging, report.read = self._read(batch, prove=False)
        return staging, report

    def _read(self, batch: str, *, prove: bool) -> tuple[Staging, int]:
        """Open the files, match their columns, fill the staging tables."""
        readers = open_readers(self._files, self._options.format, self._options.delimiter)
        try:
            matched = self._match(readers)
            columns = matched[0] if matched else self._all()
            full = [r for r in readers if not r.empty]
            rules = [rules_for(columns, self._table, self._options.nulls) for columns in matched]
            self._few, chunks = few_rows.split(_chunks(full, rules), self._options.few_rows)
            if self._few is not None:
                return few_rows.staging_of(self._table, columns), 0
            staging = Staging(batches.table_name(batch), columns)
            self._begin(batch, staging)
            create(self._connection, staging, self._table)
            filler = Filler(self._url, staging, prove=prove)
            progress = _ReadProgress(self._progress, filler, readers)
            filler.fill(iter(chunks), self._options.workers, progress.tick)
        finally:
            close_readers(readers)
        self._distinct_keys = filler.order.distinct()
        batches.staged(self._connection, batch, filler.rows)
        return staging, filler.rows

    def _begin(self, batch: str, staging: Staging) -> None:
        batches.begin(
            self._connection, batch, self._record.name, self._files, self._options,
            self._print, staging.columns,
        )  # fmt: skip

    def _match(self, readers: Sequence[BlockReader]) -> list[tuple[Matched, ...]]:
        """Columns of each file that has any; they must be the same properties in all."""
        found: list[tuple[Matched, ...]] = []
        for source, reader in zip(self._files, readers, strict=True):
            if reader.empty:
                continue
            matched = match_columns(
                self._record, reader.columns, self._options.columns, self._options.mode,
                self._table.defaulted, self._table.computed, label(source),
            )  # fmt: skip
            unknown = [c for c in self._options.nulls if c and c not in reader.columns]
            if unknown:
                raise InputError(
                    f"{label(source)} has no column {unknown[0]!r}, which --null names"
                )
            if found and [m.property.name for m in found[0]] != [m.property.name for m in matched]:
                raise InputError(
                    f"{label(source)} has different columns from {label(self._files[0])}",
                    hint="files imported together must have the same columns",
                )
            found.append(tuple(self._held_to_not_null(m) for m in matched))
        return found

    def _held_to_not_null(self, matched: Matched) -> Matched:
        """Return the column as required where the table requires it, though an attached contract
        may not say so."""
        prop = matched.property
        if prop.required or prop.column not in self._table.not_null:
            return matched
        return dataclasses.replace(matched, property=dataclasses.replace(prop, required=True))

    def _all(self) -> tuple[Matched, ...]:
        """Columns for staging tables that stay empty, since the files are."""
        computed = self._table.computed
        writable = [p for p in self._record.properties if is_imported(self._record, p, computed)]
        return tuple(Matched(i, p.name, p) for i, p in enumerate(writable))

    # Deciding and merging -------------------------------------------------------------------------

    def _at_once(self, staging: Staging, report: ImportReport, work: few_rows.Work) -> ImportReport:
        """Stage, check, decide and merge a few rows in one transaction."""
        self._few_staging = staging
        few_rows.prepare(self._connection, staging, self._table)
        self._role()
        prove, attempt = True, 1
        while True:
            try:
                with self._connection.transaction() as transaction:
                    self._begin(report.batch, staging)
                    report.read = few_rows.fill(self._connection, staging, work, prove=prove)
                    crash_point("import-staged")
                    plan = self._check(staging, report)
                    self._write_rejects(staging)
                    if report.problem:
                        report.state = "refused"
                        batches.finish(self._connection, report)
                    elif self._options.dry_run and self._gate is None:
                        self._count(report, forecast(self._connection, plan))
                        report.state = "dry-run"
                        raise psycopg.Rollback(transaction)
                    else:
                        self._merge(staging, plan, report)
                return report
            except _DryRun:
                report.state = "dry-run"
                return report
            except GateClosed as closed:
                self._closed(report, closed)
                if not self._options.dry_run:
                    self._begin(report.batch, staging)
                    batches.finish(self._connection, report)
                return report
            except _DISTURBED:
                if attempt == _ATTEMPTS:
                    raise
                attempt += 1
            except psycopg.DataError:
                # Postgres refused a value that Arrow had proven.
                if not prove:
                    raise
                prove = False

    def _decide(self, staging: Staging, report: ImportReport) -> ImportReport:
        for attempt in range(1, _ATTEMPTS + 1):
            plan = self._check(staging, report)
            self._write_rejects(staging)
            if report.problem:
                report.state = "refused"
                batches.finish(self._connection, report)
                break
            if self._options.dry_run and self._gate is None:
                self._count(report, forecast(self._connection, plan))
                report.state = "dry-run"
                batches.forget(self._connection, report.batch)
                break
            try:
                self._merge(staging, plan, report)
                break
            except _DryRun:
                report.state = "dry-run"
                batches.forget(self._connection, report.batch)
                break
            except GateClosed as closed:
                self._closed(report, closed)
                if self._options.dry_run:
                    batches.forget(self._connection, report.batch)
                else:
                    batches.finish(self._connection, report)
                break
            except _DISTURBED:
                if attempt == _ATTEMPTS:
                    raise
        drop(self._connection, staging.table)
        return report

    def _check(self, staging: Staging, report: ImportReport) -> MergePlan:
        self._progress("checking", 0, report.read)
        mode = self._options.mode
        create_reasons(self._connection, staging)
        check_loose(self._connection, staging, self._table)
        existing = self._existing()
        check_sets(
            self._connection, staging, self._table, mode,
            empty=not existing, distinct_keys=self._distinct_keys,
        )  # fmt: skip
        analyze(self._connection, staging, staging.reasons)
        report.reasons, bad, kept = rejects.count_reasons(self._connection, staging)
        report.rejected = bad + kept
        gone = self._count_of(staging.gone)
        problem = problem_of(
            self._options, read=report.read, bad=bad, deletes=gone,
            existing=self._count_of(self._table.identifier) if gone else 0,
            replaces_by_nothing=mode is Mode.REPLACE and not report.read and existing,
        )  # fmt: skip
        report.problem, report.hint = problem or ("", "")
        self._progress("checking", report.read, report.read)
        return MergePlan(
            staging,
            self._table,
            mode,
            report.read - bad,
            clean=not bad,
            empty=not existing,
            gone=gone,
        )

    def _existing(self) -> bool:
        found = self._connection.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM {})").format(self._table.identifier)
        ).fetchone()
        return bool(found and found[0])

    def _count_of(self, table: sql.Identifier) -> int:
        found = self._connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(table)
        ).fetchone()
        return int(found[0]) if found else 0

    def _write_rejects(self, staging: Staging) -> None:
        if self._options.rejects is not None:
            names = [label(f) for f in self._files]
            rejects.write_rejects(self._connection, staging, self._options.rejects, names)

    def _merge(self, staging: Staging, plan: MergePlan, report: ImportReport) -> None:
        if not staging.few:
            batches.merging(self._connection, report.batch)
        self._progress("merging", 0, plan.good_rows)

        role = self._role()

        def in_the_same_transaction(done: Merged) -> None:
            self._count(report, done)
            if self._gate is not None:
                report.gate = self._gate.look(self._connection, plan, role)
                self._gate.refuse(report.gate)
            if self._options.dry_run:
                raise _DryRun
            rejects.to_dead_letters(
                self._connection, staging, report.type, report.batch, list(self._table.key),
                any_bad=not plan.clean,
            )  # fmt: skip
            report.state = "done"
            batches.finish(self._connection, report)
            if self._in_the_merge is not None:
                self._in_the_merge(self._connection)

        merge(self._connection, plan, in_the_same_transaction)
        self._progress("merging", plan.good_rows, plan.good_rows)

    def _role(self) -> str:
        """The role that the gate's rules are asked as, made once and before any transaction of the
        batch."""
        if self._gate_role is None:
            self._gate_role = self._gate.prepare(self._connection) if self._gate is not None else ""
        return self._gate_role

    def _closed(self, report: ImportReport, closed: GateClosed) -> None:
        report.state, report.problem, report.hint = "refused", str(closed), closed.hint
        report.inserted = report.updated = report.unchanged = report.deleted = 0

    def _count(self, report: ImportReport, done: Merged) -> None:
        report.inserted, report.updated = done.inserted, done.updated
        report.unchanged, report.deleted = done.unchanged, done.deleted


class _DryRun(Exception):
    """Takes back a merge that was made only to ask the gate."""


def _chunks(
    readers: Sequence[BlockReader], rules: Sequence[Rules]
) -> Iterator[tuple[Chunk, Rules]]:
    for reader, rule in zip(readers, rules, strict=True):
        for chunk in reader.chunks():
            yield chunk, rule


class _ReadProgress:
    """Rows so far, and rows in all as the bytes read so far foretell."""

    def __init__(self, progress: Progress, filler: Filler, readers: Sequence[BlockReader]) -> None:
        self._progress, self._filler, self._readers = progress, filler, readers

    def tick(self) -> None:
        rows = self._filler.rows
        share = sum(r.done() for r in self._readers) / max(1, len(self._readers))
        total = int(rows / share) if share > 0 and rows else None
        self._progress("reading", rows, total)
