"""The commands `client python` and `client typescript`: typed clients of the product."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recordgate.cli.output import invocation, reported, say
from stores.errors import SetupError

Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="File to write; default: print to stdout."),
]


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="Write typed clients of the product.")
    commands.command("python")(python)
    commands.command("typescript")(typescript)
    app.add_typer(commands, name="client")


def python(ctx: typer.Context, output: Output = None) -> None:
    """Write a Python module with types of the records and a client that asks; it needs httpx."""
    _write(ctx, "python", output)


def typescript(ctx: typer.Context, output: Output = None) -> None:
    """Write a TypeScript module with types of the records, filters and inputs."""
    _write(ctx, "typescript", output)


def _write(ctx: typer.Context, language: str, output: Path | None) -> None:
    from gateway.schema import build_schema
    from recordgate.clients.model import model_of
    from recordgate.clients.python import python_client
    from recordgate.clients.typescript import typescript_types

    with reported():
        given = invocation(ctx)
        contract = given.contract(given.settings())
        model = model_of(build_schema(contract).graphql, contract)
        title = f"{contract.id} {contract.version}"
        text = (python_client if language == "python" else typescript_types)(model, title)
        if output is None:
            typer.echo(text, nl=False)
            return
        try:
            output.write_text(text, "utf-8")
        except OSError as error:
            raise SetupError(f"{output} cannot be written: {error.strerror}") from None
        say(f"wrote {output}")
