"""The command `slo`: how the service levels of the contract stand, or the same objectives as
OpenSLO documents or Prometheus' rules."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from recordgate.canonical_access import open_canonical
from recordgate.cli.output import Exit, emit, invocation, reported
from recordgate.monitoring.objectives import (
    BROKEN,
    as_text,
    as_value,
    levels_of,
    windows_of,
)
from recordgate.monitoring.slo_rules import openslo, prometheus
from stores.canonical.connect import connect
from stores.canonical.driver_errors import of_own_tables
from stores.canonical.service_minutes import read_sums
from stores.contract.indicators import indicators


class Format(StrEnum):
    OPENSLO = "openslo"
    PROMETHEUS = "prometheus"


def register(app: typer.Typer) -> None:
    app.command("slo")(slo)


def slo(
    ctx: typer.Context,
    as_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="Print the objectives for another system: OpenSLO documents, or Prometheus'"
            " rules.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how the service levels that the contract promises stand: share, budget, and how fast it
    is used; exit code 4 where one is broken. With --format canonical is not asked."""
    with reported(as_json=as_json):
        given = invocation(ctx)
        settings = given.settings()
        contract = given.contract(settings)
        found = indicators(contract)
        if as_format is not None:
            import yaml

            if as_format is Format.OPENSLO:
                text = yaml.safe_dump_all(openslo(contract.id, found), sort_keys=False)
            else:
                text = yaml.safe_dump(prometheus(contract.id, found), sort_keys=False, width=1000)
            typer.echo(text, nl=False)
            return
        with (
            open_canonical(settings) as access,
            connect(access.url) as conn,
            of_own_tables(contract),
        ):
            sums = read_sums(conn, [i.name for i in found], windows_of(found))
        levels = levels_of(found, sums, datetime.now(UTC))
    emit(
        {"levels": [as_value(level) for level in levels]},
        as_json=as_json,
        text=lambda: (
            "\n".join(line for level in levels for line in as_text(level))
            or "the contract promises no service level that is a share: see slaProperties"
        ),
    )
    if any(level.state == BROKEN for level in levels):
        raise typer.Exit(Exit.DIFFERENT)
