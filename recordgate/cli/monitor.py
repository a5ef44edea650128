"""The command `monitor deliveries`: whether each type's data has come, when and as much as it
should."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from recordgate.canonical_access import open_canonical
from recordgate.cli.output import Exit, emit, invocation, reported
from recordgate.monitoring.deliveries import WRONG, as_value, standing_of
from recordgate.sync_access import chosen_types
from stores.canonical.connect import connect
from stores.canonical.deliveries import read_days
from stores.canonical.driver_errors import of_own_tables


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="How data comes in, and whether it is as usual.")
    group.callback()(lambda: None)
    group.command("deliveries")(deliveries)
    app.add_typer(group, name="monitor")


def deliveries(
    ctx: typer.Context,
    type_name: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="A record type; default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show for each type whether its imports come when they are promised or usual, with as many
    records as usual; exit code 4 where one is late, missing, short or long."""
    with reported(as_json=as_json):
        given = invocation(ctx)
        settings = given.settings()
        contract = given.contract(settings)
        types = chosen_types(contract, type_name)
        now = datetime.now(UTC)
        with (
            open_canonical(settings) as access,
            connect(access.url) as conn,
            of_own_tables(contract),
        ):
            days = read_days(conn, types, now)
        standings = [s for t in types if (s := standing_of(contract, t, days[t], now))]
    emit(
        {"deliveries": [as_value(s) for s in standings]},
        as_json=as_json,
        text=lambda: (
            "\n".join(f"{s.state}: {s.type}: {s.why}" for s in standings)
            or "nothing was imported yet, and no delivery is promised"
        ),
    )
    if any(s.state in WRONG for s in standings):
        raise typer.Exit(Exit.DIFFERENT)
