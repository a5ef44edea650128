"""The command `import`: files into a record type."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from recordgate.canonical_access import open_canonical
from recordgate.cli.output import Exit, ProgressLine, emit, invocation, reported
from stores.canonical import importing
from stores.canonical.importing import ImportOptions, ImportReport, Mode, RowLimit
from stores.errors import InputError


def register(app: typer.Typer) -> None:
    app.command("import")(import_)


def import_(
    ctx: typer.Context,
    type_name: Annotated[
        str, typer.Argument(metavar="TYPE", help="A record type of the contract.")
    ],
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Files, imported in this order; -: standard input."),
    ],
    mode: Annotated[
        Mode,
        typer.Option(
            help=(
                "Import mode; replace makes the type equal to the files, delete deletes the"
                " records whose keys the files hold."
            )
        ),
    ] = Mode.UPSERT,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="File format: csv, tsv, ndjson, json or parquet; default: by the file's name.",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COLUMN=FIELD",
            help="Map COLUMN of the file to FIELD of the contract; COLUMN= skips the column.",
        ),
    ] = None,
    max_rejects: Annotated[
        str | None,
        typer.Option(
            metavar="N|N%",
            help=(
                "Refuse the batch if more rows than this are bad: a number, or a share such as 5%."
            ),
        ),
    ] = None,
    max_deletes: Annotated[
        str | None,
        typer.Option(
            metavar="N|N%",
            help=(
                "Refuse the batch if more records than this would be deleted: a number, or a"
                " share such as 5%."
            ),
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Batch id; importing the same id again changes nothing."),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV file to which every reason of every bad row is written."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all rows without changing anything.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Import files: exit 0 done, 1 refused and nothing changed, 3 done with rows set aside."""
    with reported(as_json=as_json):
        options = ImportOptions(
            mode=mode,
            format=format_,
            columns=parse_map(columns or []),
            max_rejects=None if max_rejects is None else RowLimit.parse(max_rejects),
            max_deletes=None if max_deletes is None else RowLimit.parse(max_deletes),
            batch=batch,
            rejects=rejects,
            dry_run=dry_run,
        )
        given = invocation(ctx)
        settings = given.settings()
        contract = given.contract(settings)
        sources: list[Path | Literal["-"]] = ["-" if f == "-" else Path(f) for f in files]
        with open_canonical(settings) as canonical, ProgressLine(f"import {type_name}") as line:

            def progress(stage: str, done: int, total: int | None) -> None:
                line.update(done, total, f"{type_name}: {stage}")

            report = importing.run_import(
                canonical.url, contract, type_name, sources, options, progress
            )
    emit(as_value(report), as_json=as_json, text=lambda: as_text(report))
    raise typer.Exit(exit_code(report))


def parse_map(given: list[str]) -> dict[str, str]:
    """`COLUMN=FIELD` → {column: field}; raises InputError."""
    mapping: dict[str, str] = {}
    for text in given:
        column, equals, field = text.rpartition("=")
        if not equals:
            raise InputError(f"--map {text!r} is not COLUMN=FIELD")
        if mapping.setdefault(column, field) != field:
            raise InputError(f"--map names the column {column!r} twice")
    return mapping


def exit_code(report: ImportReport) -> Exit:
    """A batch that was done before asks for nothing, however it went that time."""
    if report.state == "refused":
        return Exit.FAILED
    return Exit.SET_ASIDE if report.rejected and not report.repeated else Exit.DONE


def as_value(report: ImportReport) -> dict[str, Any]:
    value = dataclasses.asdict(report)
    if report.state == "refused":
        value["error"] = {
            "code": "LIMIT_EXCEEDED",
            "message": report.problem,
            "hint": report.hint,
        }
    return value


def as_text(report: ImportReport) -> str:
    if report.state == "refused":
        lines = [f"refused, nothing was changed: {report.problem}", f"  hint: {report.hint}"]
    elif report.repeated:
        lines = [
            (
                f"batch {report.batch} was imported before; nothing was changed. The earlier"
                " import did:"
            )
        ]
    elif report.state == "dry-run":
        lines = ["dry run, nothing was changed. The import would do:"]
    else:
        lines = [f"{report.type}: {report.mode} done in {report.seconds:,.1f} s"]
    lines.append(
        f"  read {report.read:,}  inserted {report.inserted:,}  updated {report.updated:,} "
        f" unchanged {report.unchanged:,}  deleted {report.deleted:,}  set aside"
        f" {report.rejected:,}"
    )
    lines += [f"  {code}: {number:,}" for code, number in report.reasons.items()]
    if report.resumed:
        lines.append("  resumed from the rows that an interrupted run had staged")
    if report.rejected and report.state == "done":
        lines.append(f"  see `recordgate deadletters list --batch {report.batch}`")
    lines.append(f"  batch {report.batch}")
    return "\n".join(lines)
