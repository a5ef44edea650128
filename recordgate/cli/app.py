"""The command `recordgate`: options before the command, and the list of modules that bring commands."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from recordgate.cli.output import Invocation, configure_logging

MODULES = (
    "demo",
    "doctor",
    "serving",
    "contract",
    "schema",
    "importing",
    "generations",
    "verify",
    "status",
    "deadletters",
    "export",
)
"""Modules of recordgate.cli; each has `register(app)`."""

app = typer.Typer(
    name="recordgate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Exposes the records of a data product through several databases and keeps them true.",
)


@app.callback()
def options(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file; default recordgate.toml.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Log warnings only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log what is done.")] = False,
) -> None:
    verbosity = -1 if quiet else 1 if verbose else 0
    configure_logging(verbosity)
    ctx.obj = Invocation(config=config, verbosity=verbosity)


for _name in MODULES:
    try:
        importlib.import_module(f"recordgate.cli.{_name}").register(app)
    except ModuleNotFoundError:  # while the commands are being written
        continue


def main() -> None:
    app()
