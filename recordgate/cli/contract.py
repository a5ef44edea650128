"""The commands `contract lint`, `contract init` and `contract diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recordgate.cli.output import Exit, emit, reported


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="Check, make and compare contracts.")
    commands.command("lint")(lint)
    commands.command("init")(init)
    commands.command("diff")(diff)
    app.add_typer(commands, name="contract")


def lint(
    files: Annotated[list[Path], typer.Argument(help="Contract files, or folders of contracts.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Every finding as file:line:column: code: message. A folder is one contract."""
    from stores.contract.lint import lint_file

    findings = [finding for file in files for finding in lint_file(file)]
    lines: list[str] = []
    for finding in findings:
        warning = " (warning)" if finding.severity == "warning" else ""
        lines.append(f"{finding}{warning}")
        if finding.hint:
            lines.append(f"  hint: {finding.hint}")
    errors = sum(f.severity == "error" for f in findings)
    if not findings:
        lines.append(f"{len(files)} checked, no findings")
    emit(
        {"errors": errors, "findings": [f.as_dict() for f in findings]},
        as_json=as_json,
        text="\n".join(lines),
    )
    if errors:
        raise typer.Exit(Exit.FAILED)


def init(
    url: Annotated[str, typer.Option("--from", help="postgresql://user@host/database")],
    schema: Annotated[str, typer.Option(help="Whose tables.")] = "public",
    output: Annotated[
        Path | None, typer.Option(help="New file to write to; default: stdout.")
    ] = None,
) -> None:
    """A contract from the tables of a database, to be attached to them."""
    from stores.canonical.connect import connect
    from stores.contract.reflect import contract_from_database
    from stores.errors import SetupError

    with reported():
        if output is not None and output.exists():
            raise SetupError(
                f"{output} already exists", hint="name another file, or remove this one"
            )
        with connect(url, autocommit=False) as connection:
            connection.read_only = True
            text = contract_from_database(connection, schema)
        if output is None:
            typer.echo(text, nl=False)
            return
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise SetupError(f"{output} cannot be written: {error.strerror}") from None
        typer.echo(f"wrote {output}", err=True)


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
