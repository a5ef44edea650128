"""The command `migrate`: from the contract that runs to the one that is configured, without a
break."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recordgate import migration_order
from recordgate.canonical_access import open_canonical
from recordgate.cli.output import ProgressLine, emit, invocation, reported
from recordgate.migrating import Consent, Migration, look, one_at_a_time, opened, require_consent
from recordgate.migration_order import Standing
from stores.canonical.driver_errors import translated
from stores.contract.compare import compare
from stores.contract.load import load_contract
from stores.contract.model import Contract


def register(app: typer.Typer) -> None:
    app.command("migrate")(migrate)


def migrate(
    ctx: typer.Context,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Do not ask, also where data may be lost, or a process is interrupted."
        ),
    ] = False,
    break_live: Annotated[
        bool,
        typer.Option(
            "--break-live",
            help="Go on although a process keeps another contract, which may break it.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, in order; change nothing.")
    ] = False,
    old: Annotated[
        Path | None,
        typer.Option(
            "--old", metavar="FILE", help="Contract before: also say what breaks callers of it."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring everything to the configured contract, in the order that breaks nobody: canonical gets
    what is new, workers take the contract, the stores load while the old generations serve,
    gateways take it, then canonical loses what is gone. It may be stopped at any moment, and run
    again."""
    with reported(as_json=as_json):
        given = invocation(ctx)
        settings = given.settings()
        contract = given.contract(settings)
        changes = _changes(old, contract)
        with (
            open_canonical(settings) as access,
            translated(),
            opened(access.url) as conn,
            one_at_a_time(conn),
        ):
            standing = look(conn, contract)
            plan = changes + list(migration_order.told(standing))
            value = migration_order.as_json(standing)
            if dry_run:
                emit(value, as_json=as_json, text="\n".join(plan) or "nothing to do")
                return
            agreed = yes or _asked(standing, plan, as_json=as_json)
            consent = Consent(agreed, break_live)
            require_consent(standing, consent)
            with ProgressLine("migrate", unit="done") as line:
                migration = Migration(
                    settings,
                    contract,
                    access.url,
                    conn,
                    consent=consent,
                    told=lambda what, done, total: line.update(done, total, f"migrate: {what}"),
                )
                try:
                    migration.run(standing)
                finally:
                    if not as_json:
                        for text in migration.done:
                            typer.echo(text)
        emit(
            value | {"done": migration.done},
            as_json=as_json,
            text=f"contract {contract.version} is everywhere",
        )


def _changes(old: Path | None, contract: Contract) -> list[str]:
    """Return the lines that say what changes for callers."""
    if old is None:
        return []
    found = compare(load_contract(old), contract)
    said = [f"  {'!' if d.breaking else '+'} {d.where}: {d.message}" for d in found]
    return ["callers of the contract before see:", *said] if said else []


def _asked(standing: Standing, plan: list[str], *, as_json: bool) -> bool:
    """Return whether a person says yes; False where nobody is there to ask."""
    if not plan or as_json or not sys.stdin.isatty():
        return False
    for line in plan:
        typer.echo(line, err=True)
    losing = " Data may be lost (!)." if standing.plan.destructive else ""
    typer.confirm(f"Carry this out?{losing}", abort=True, err=True)
    return True
