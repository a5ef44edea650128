"""The command `doctor`: each store and source, whether it is reached, and how to mend what is
wrong."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from recordgate.cli.output import Exit, emit, invocation, reported


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Each store and source: reached, version, what is missing, how to mend it. Exit 1: not all is
    well."""
    from recordgate.examination import examine

    with reported(as_json=as_json):
        given = invocation(ctx)
        settings = given.settings()
        findings = asyncio.run(examine(settings, given.contract(settings)))
    well = all(f.ok for f in findings)
    emit(
        {
            "ok": well,
            "checks": [
                {"name": f.name, "ok": f.ok, "saw": f.saw, "hint": f.hint} for f in findings
            ],
        },
        as_json=as_json,
        text="\n".join(f.as_text() for f in findings),
    )
    if not well:
        raise typer.Exit(Exit.FAILED)
