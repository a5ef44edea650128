"""The command `recordgate`: options before the command, and which module brings which command.

Only the module of the command that is asked for is imported: a command starts in the time that its
own libraries need.
"""

from __future__ import annotations

import importlib
import sys
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
    "import": "importing",
    "collect": "collecting",
    "reload": "generations",
    "rollback": "generations",
    "verify": "verify",
    "quality": "quality",
    "slo": "slo",
    "status": "status",
    "deadletters": "deadletters",
    "export": "export",
    "keys": "keys",
    "schema": "graphql_schema",
}
"""Command → module of recordgate.cli; each module has `register(app)`."""


def options(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file; default recordgate.toml.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Log warnings only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log each step.")] = False,
) -> None:
    verbosity = -1 if quiet else 1 if verbose else 0
    configure_logging(verbosity)
    ctx.obj = Invocation(config=config, verbosity=verbosity)


def build(command: str | None = None) -> typer.Typer:
    """The command line with the module of `command`; with all where it names none."""
    app = typer.Typer(
        name="recordgate",
        no_args_is_help=True,
        add_completion=False,
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


def main() -> None:
    build(command_of(sys.argv[1:]))()
