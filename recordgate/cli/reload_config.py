"""The command `reload-config`: running gateways and workers read their contract and keys again."""

from __future__ import annotations

from typing import Annotated

import typer

from recordgate.canonical_access import open_canonical
from recordgate.cli.output import Exit, ProgressLine, emit, invocation, reported
from recordgate.migrations.run import require_current
from recordgate.reload_requests import PATIENCE, ask, living
from stores.canonical.connect import connect
from stores.canonical.driver_errors import translated


def register(app: typer.Typer) -> None:
    app.command("reload-config")(reload_config)


def reload_config(
    ctx: typer.Context,
    patience: Annotated[
        float,
        typer.Option("--patience", metavar="SECONDS", min=0.1, help="How long each may take."),
    ] = PATIENCE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask every running gateway and worker to read its contract and keys again, and say what each
    did. A contract that is wrong is refused by it, and it goes on with the one before. Exit code 1
    where one has not taken it."""
    with reported(as_json=as_json):
        settings = invocation(ctx).settings()
        with open_canonical(settings) as access, translated(), connect(access.url) as conn:
            require_current(conn)
            processes = living(conn)
            with ProgressLine("reading again", len(processes), unit="processes") as line:
                answers = ask(conn, processes, patience=patience, heard=line.update)
    emit(
        {"processes": [a.as_json() for a in answers]},
        as_json=as_json,
        text="\n".join(a.text for a in answers) or "no gateway and no worker is running",
    )
    if not all(a.ok for a in answers):
        raise typer.Exit(Exit.FAILED)
