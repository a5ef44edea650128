"""The commands `contract lint`, `init`, `diff`, `show` and `schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from recordgate.cli.output import Exit, ProgressLine, emit, invocation, reported, say
from recordgate.cli.printable import printable
from stores.errors import InputError, SetupError

Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="FILE=COLUMN,…",
        help="What tells the records of a file apart, where it is known.",
    ),
]


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="Check, make and compare contracts.")
    commands.command("lint")(lint)
    commands.command("init")(init)
    commands.command("diff")(diff)
    commands.command("show")(show)
    commands.command("schema")(schema)
    app.add_typer(commands, name="contract")


def lint(
    files: Annotated[list[Path], typer.Argument(help="Contract files, or folders of contracts.")],
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Mend what has one mending, in the files, and show each change. The meaning of a"
            " contract that is sound stays.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Every finding as file:line:column: code: message. A folder is one contract."""
    from stores.contract.lint import lint_file

    fixed: list[str] = []
    if fix:
        from recordgate.contract_files import fix_file

        with reported(as_json=as_json):
            fixed = [str(done) for file in files for done in fix_file(file)]
    findings = [finding for file in files for finding in lint_file(file)]
    lines = [f"{one} (fixed)" for one in fixed]
    for finding in findings:
        warning = " (warning)" if finding.severity == "warning" else ""
        lines.append(f"{finding}{warning}")
        if finding.hint:
            lines.append(f"  hint: {finding.hint}")
    errors = sum(f.severity == "error" for f in findings)
    if not findings:
        lines.append(f"{len(files)} checked, no findings")
    value = {"errors": errors, "findings": [f.as_dict() for f in findings]}
    emit(
        value | ({"fixed": fixed} if fix else {}),
        as_json=as_json,
        text="\n".join(lines),
    )
    if errors:
        raise typer.Exit(Exit.FAILED)


def init(
    first: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="URL|FILE",
            help="postgresql://user@host/database; or files (CSV, TSV, NDJSON, JSON, Parquet), or"
            " a folder of them.",
        ),
    ],
    more: Annotated[list[str] | None, typer.Argument(metavar="FILE...", help="More files.")] = None,
    schema: Annotated[str, typer.Option(help="Whose tables, of a database.")] = "public",
    keys: Keys = None,
    output: Annotated[
        Path | None, typer.Option(help="New file to write to; default: stdout.")
    ] = None,
) -> None:
    """A contract from the tables of a database, to be attached to them; or from files, with the
    reason of each line."""
    from stores.canonical.connect import connect
    from stores.contract.reflect import contract_from_database

    with reported():
        if output is not None and output.exists():
            raise SetupError(f"{output} is there already", hint="name a new file, or remove it")
        notes: list[str] = []
        if first.startswith(("postgresql://", "postgres://")):
            if more or keys:
                raise InputError("a database is described alone", hint="leave FILE and --key out")
            with connect(first, autocommit=False) as connection:
                connection.read_only = True
                text = contract_from_database(connection, schema)
        else:
            text, notes = _from_files([first, *(more or [])], keys or [])
        if output is None:
            typer.echo(text, nl=False)
            _tell(notes)
            return
        _write_new(output, text)
        _tell(notes)


def _write_new(output: Path, text: str) -> None:
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SetupError(
            f"{output} is there already", hint="name a new file, or remove it"
        ) from None
    except OSError as error:
        raise SetupError(f"{output} cannot be written: {error.strerror}") from None
    say(f"wrote {output}")


def _from_files(given: list[str], keys: list[str]) -> tuple[str, list[str]]:
    """The contract of the files, and what a person should know."""
    from recordgate.starting.drafting import contract_from_files

    if any("://" in name for name in given):
        raise InputError("--from takes postgresql:// or files", hint="no other address is read")
    with ProgressLine("reading files", unit="%") as line:
        drafted = contract_from_files(
            [Path(name) for name in given],
            parse_keys(keys),
            lambda what, share: line.update(round(share * 100), 100, what),
        )
    return drafted.text, list(drafted.notes)


def _tell(notes: list[str]) -> None:
    for note in notes:
        say(note)


def parse_keys(given: list[str]) -> dict[str, list[str]]:
    """`FILE=COLUMN,…` → {file: columns}; raises InputError."""
    found: dict[str, list[str]] = {}
    for text in given:
        file, equals, columns = text.partition("=")
        if not equals or not columns:
            raise InputError(f"--key {text!r} is not FILE=COLUMN,…")
        found[file] = [c.strip() for c in columns.split(",")]
    return found


def diff(
    old: Annotated[Path, typer.Argument(help="Old contract: file or folder.")],
    new: Annotated[Path, typer.Argument(help="New contract: file or folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Breaking and harmless changes, apart. Exit 1 where one is breaking."""
    from stores.contract.compare import compare
    from stores.contract.load import load_contract

    with reported(as_json=as_json):
        differences = compare(load_contract(old), load_contract(new))
    breaking = [d for d in differences if d.breaking]
    harmless = [d for d in differences if not d.breaking]
    lines: list[str] = []
    for title, some in (("breaking", breaking), ("harmless", harmless)):
        if some:
            lines += [f"{title}:", *(f"  {d.where}: {d.message}" for d in some)]
    emit(
        {
            title: [{"where": d.where, "message": d.message} for d in some]
            for title, some in (("breaking", breaking), ("harmless", harmless))
        },
        as_json=as_json,
        text="\n".join(lines) or "no differences",
    )
    if breaking:
        raise typer.Exit(Exit.FAILED)


def show(
    contract: Annotated[
        Path | None,
        typer.Argument(help="Contract: file or folder; default: the one that is configured."),
    ] = None,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Draw it as an erDiagram of Mermaid.")
    ] = False,
    ctx: typer.Context = None,  # type: ignore[assignment]
) -> None:
    """Draw the types of a contract and their relations."""
    from stores.contract.drawing import as_mermaid, as_text
    from stores.contract.load import load_contract

    with reported():
        if contract is None:
            given = invocation(ctx)
            found = given.contract(given.settings())
        else:
            found = load_contract(contract)
        typer.echo(printable(as_mermaid(found) if mermaid else as_text(found)))


def schema(
    output: Annotated[
        Path | None, typer.Option(help="New file to write to; default: stdout.")
    ] = None,
) -> None:
    """The JSON schema of a contract, with recordgate's extensions, for editors."""
    from stores.contract.json_schema import contract_schema

    with reported():
        text = json.dumps(contract_schema(), indent=1, ensure_ascii=False)
        if output is None:
            typer.echo(text)
            return
        _write_new(output, text + "\n")
