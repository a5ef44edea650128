"""The command `import`: files into a record type."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from recordgate.canonical_access import open_canonical
from recordgate.cli.output import Exit, ProgressLine, emit, invocation, reported
from recordgate.cli.printable import printable
from recordgate.settings import Settings
from stores.canonical import importing
from stores.canonical.importing import ImportOptions, ImportReport, Mode, RowLimit
from stores.contract.model import Contract
from stores.errors import InputError


def register(app: typer.Typer) -> None:
    app.command("import")(import_)


def import_(
    ctx: typer.Context,
    type_name: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="A record type of the contract.")
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE...", help="Files in order; - is standard input."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--all",
            metavar="FOLDER",
            help="Import each file of the folder into the type that is called like it, what is"
            " pointed to first.",
        ),
    ] = None,
    left_out: Annotated[
        list[str] | None,
        typer.Option("--except", metavar="FILE", help="With --all: leave this file out."),
    ] = None,
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
    nulls: Annotated[
        list[str] | None,
        typer.Option(
            "--null",
            metavar="[COLUMN=]TEXT",
            help="A text that stands for a missing value, such as NA; with --all also"
            " TYPE.COLUMN=TEXT, where * is"
            " every column.",
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="What stands between the values of a CSV file; default: what its first line shows."
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
    no_gate: Annotated[
        bool,
        typer.Option(
            "--no-gate",
            help="Import even if a rule of the type's gate is broken; the import's record says so.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Import files: exit 0 done, 1 refused and nothing changed, 3 done with rows set aside."""
    if (folder is None) == (type_name is None) or (folder is None) != bool(files):
        raise typer.BadParameter("name a TYPE and its FILEs, or --all FOLDER")
    if folder is not None and mode not in (Mode.UPSERT, Mode.INSERT):
        raise typer.BadParameter("--all goes with the modes upsert and insert")
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
            delimiter=None if delimiter is None else parse_delimiter(delimiter),
            gate=not no_gate,
        )
        given = invocation(ctx)
        settings = given.settings()
        options = dataclasses.replace(options, rule_timeout=settings.quality_timeout)
        contract = given.contract(settings)
        if folder is not None:
            nulls_by_type = parse_nulls(nulls or [], contract)
            code = _import_all(
                settings, contract, folder, left_out or [], options, nulls_by_type, as_json=as_json
            )
            raise typer.Exit(code)
        assert type_name is not None
        assert files is not None
        options = dataclasses.replace(options, nulls=parse_nulls(nulls or [], None)[""])
        sources: list[Path | Literal["-"]] = ["-" if f == "-" else Path(f) for f in files]
        with open_canonical(settings) as canonical, ProgressLine(f"import {type_name}") as line:

            def progress(stage: str, done: int, total: int | None) -> None:
                line.update(done, total, f"{type_name}: {stage}")

            report = importing.run_import(
                canonical.url, contract, type_name, sources, options, progress
            )
    emit(as_value(report), as_json=as_json, text=lambda: as_text(report))
    raise typer.Exit(exit_code(report))


def _import_all(
    settings: Settings,
    contract: Contract,
    folder: Path,
    left_out: list[str],
    options: ImportOptions,
    nulls: dict[str, dict[str, tuple[str, ...]]],
    *,
    as_json: bool,
) -> Exit:
    """Import each file of the folder; each report is printed as it comes, or all at the end as
    JSON."""
    from recordgate.starting.loading import files_of_types, planned, run_all

    files = files_of_types(contract, folder, left_out)
    everywhere = nulls.pop("", {})
    by_type = {name: everywhere | nulls.get(name, {}) for name in files}
    imports = planned(contract, files, options, by_type)
    reports: list[ImportReport] = []
    with open_canonical(settings) as canonical, ProgressLine(f"import {folder}") as line:

        def progress(stage: str, done: int, total: int | None) -> None:
            line.update(done, total, stage)

        for one, report in run_all(canonical.url, contract, imports, progress):
            reports.append(report)
            if not as_json:
                again = " (again, with what its records point to)" if one.again else ""
                typer.echo(printable(f"{one.path.name}{again}\n{as_text(report)}"))
    if as_json:
        emit([as_value(r) for r in reports], as_json=True, text="")
    return max(map(exit_code, reports), key=(Exit.DONE, Exit.SET_ASIDE, Exit.FAILED).index)


def parse_delimiter(text: str) -> str:
    """One character, or the word `tab`; raises InputError."""
    found = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(found) != 1 or not found.isascii() or found in '"\r\n' or found.isalnum():
        raise InputError(
            f"--delimiter {text!r} cannot stand between values", hint="one of , ; | or tab"
        )
    return found


def parse_nulls(
    given: list[str], contract: Contract | None
) -> dict[str, dict[str, tuple[str, ...]]]:
    """`TEXT` and `COLUMN=TEXT`, under ""; with a contract, for many files, `TYPE.COLUMN=TEXT` under
    the type, too. `*` is every column. Raises InputError."""
    found: dict[str, dict[str, tuple[str, ...]]] = {"": {}}
    for text in given:
        where, equals, marker = text.partition("=")
        if not equals:
            where, marker = "*", text
        if not marker:
            raise InputError(
                f"--null {text!r} names no text", hint="an empty value is missing anyway"
            )
        type_name, dot, column = where.partition(".")
        if contract is None or where == "*":
            type_name, column = "", where
        elif not dot or (record := contract.type(type_name)) is None:
            raise InputError(
                f"--null {text!r} names no type of the contract",
                hint="write TEXT or TYPE.COLUMN=TEXT",
            )
        else:
            type_name = record.name
        column = "" if column == "*" else column
        columns = found.setdefault(type_name, {})
        columns[column] = (*columns.get(column, ()), marker)
    return found


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
            "code": "RULE_BROKEN" if report.gate else "LIMIT_EXCEEDED",
            "message": report.problem,
            "hint": report.hint,
        }
    return value


def gate_lines(report: ImportReport) -> list[str]:
    """The gate's rules, where it refused the batch."""
    if report.state != "refused":
        return []
    from recordgate.cli.quality import rule_lines

    return [line for rule in report.gate if rule["state"] != "passed" for line in rule_lines(rule)]


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
    lines += gate_lines(report)
    lines += [f"  {code}: {number:,}" for code, number in report.reasons.items()]
    if report.resumed:
        lines.append("  resumed from the rows that an interrupted run had staged")
    if report.rejected and report.state == "done":
        lines.append(f"  see `recordgate deadletters list --batch {report.batch}`")
    lines.append(f"  batch {report.batch}")
    return "\n".join(lines)
