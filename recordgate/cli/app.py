"""The command `recordgate`: options before the command, and which module brings which command.

Only the module of the command that is asked for is imported: a command starts in the time that its
own libraries need.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from recordgate.cli.output import Invocation, configure_logging

COMMANDS = {
    "demo": "demo",
    "quickstart": "quickstart",
    "doctor": "doctor",
    "up": "serving",
    "serve": "serving",
    "sync": "serving",
    "contract": "contract",
    "plan": "schema",
    "apply": "schema",
    "migrate": "migrate",
    "reload-config": "reload_config",
    "import": "importing",
    "collect": "collecting",
    "reload": "generations",
    "rollback": "generations",
    "verify": "verify",
    "quality": "quality",
    "slo": "slo",
    "monitor": "monitor",
    "status": "status",
    "deadletters": "deadletters",
    "export": "export",
    "keys": "keys",
    "schema": "graphql_schema",
    "backup": "backup",
    "restore": "backup",
    "client": "client",
    "ask": "ask",
    "search": "ask",
}
"""Command → module of recordgate.cli; each module has `register(app)`."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"recordgate {metadata.version('recordgate')}")
        raise typer.Exit


def options(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file; default recordgate.toml.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Log warnings only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log each step.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    verbosity = -1 if quiet else 1 if verbose else 0
    configure_logging(verbosity)
    ctx.obj = Invocation(config=config, verbosity=verbosity)


def build(command: str | None = None) -> typer.Typer:
    """The command line with the module of `command`; with all where it names none."""
    app = typer.Typer(
        name="recordgate",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        callback=options,
        help="Exposes the records of a data product through several databases and keeps them true.",
    )
    known = COMMANDS.get(command or "")
    for name in [known] if known else dict.fromkeys(COMMANDS.values()):
        importlib.import_module(f"recordgate.cli.{name}").register(app)
    return app


def command_of(arguments: list[str]) -> str | None:
    """The first argument that is neither an option nor the value of --config."""
    words = iter(arguments)
    for word in words:
        if word == "--config":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def asked() -> list[str]:
    """Return the words after `recordgate`: those of the line that a shell wants to be completed,
    where it asks for that."""
    if "_RECORDGATE_COMPLETE" not in os.environ:
        return sys.argv[1:]
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    return line.split()[1:]


def main() -> None:
    build(command_of(asked()))(prog_name="recordgate")
