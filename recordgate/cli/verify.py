"""The command `verify`: every store against canonical, record by record; `--repair` mends what
differs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from recordgate.canonical_access import open_canonical
from recordgate.cli.output import Exit, ProgressLine, emit, invocation, reported
from recordgate.foreign import dangling, foreign_relations
from recordgate.settings import Settings
from recordgate.sync_access import (
    Assure,
    SyncAccess,
    chosen_sinks,
    chosen_types,
    sync_access,
    with_worker,
)
from stores.canonical.connect import connect
from stores.canonical.publication import slot_name
from stores.contract.model import Contract
from stores.errors import TimeoutExceeded
from sync import durable_backlog
from sync.lease import worker_runs
from sync.verify import Report
from sync.verify import verify as compare

PATIENCE = 15.0
"""Maximum seconds to wait for a sink whose position does not move while a worker runs."""
REPAIR_PATIENCE = 120.0


def register(app: typer.Typer) -> None:
    app.command("verify")(verify)


def verify(
    ctx: typer.Context,
    type_name: Annotated[str | None, typer.Argument(metavar="[TYPE]")] = None,
    sink: Annotated[str | None, typer.Option(metavar="NAME", help="search or documents.")] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Mark differing records to be read again, wait, and compare once more."
        ),
    ] = False,
    foreign: Annotated[
        bool,
        typer.Option(
            "--foreign",
            help=(
                "Compare relationships into other products with their exports instead of"
                " comparing stores."
            ),
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare every store with canonical; exit code 4 where they differ."""
    if foreign:
        _verify_foreign(ctx, type_name, as_json)
        return
    with reported(as_json=as_json):
        given = invocation(ctx)
        settings = given.settings()
        contract = given.contract(settings)
        types = chosen_types(contract, type_name)
        sinks = chosen_sinks(sink)
        report, repaired = asyncio.run(_run(settings, contract, types, sinks, repair))
    value = as_value(report, repaired)
    emit(value, as_json=as_json, text=lambda: as_text(report, repaired))
    if report.differences:
        raise typer.Exit(Exit.DIFFERENT)


def _verify_foreign(ctx: typer.Context, type_name: str | None, as_json: bool) -> None:
    with reported(as_json=as_json):
        given = invocation(ctx)
        settings = given.settings()
        contract = given.contract(settings)
        types = chosen_types(contract, type_name)
        with open_canonical(settings) as access, connect(access.url) as conn:
            found = [
                dangling(conn, record_type, relation)
                for record_type, relation in foreign_relations(contract)
                if record_type.name in types
            ]
    missing = sum(d.missing for d in found)
    emit(
        {"dangling": missing, "relations": [asdict(d) for d in found]},
        as_json=as_json,
        text=lambda: (
            "\n".join(
                (
                    f"{d.type}.{d.relation}: {d.records:,} name a record of {d.there},"
                    f" {d.missing:,} one that does not exist"
                )
                + (f": {', '.join(d.examples)}" if d.examples else "")
                for d in found
            )
            or "no relationship of the contract leads into another product"
        ),
    )
    if missing:
        raise typer.Exit(Exit.DIFFERENT)


async def _run(
    settings: Settings, contract: Contract, types: list[str], sinks: tuple[str, ...], repair: bool
) -> tuple[Report, int]:
    async with sync_access(settings, contract, sinks) as access:
        for problem in access.problems.values():
            raise problem
        report = await _compare(contract, access, types)
        if not repair or not report.differences:
            return report, 0
        repaired = await _mark(access, report)
        async with with_worker(settings, contract, access, sinks, types) as assure:
            await _drained(access, sinks, contract, assure)
            return await _compare(contract, access, types), repaired


async def _compare(contract: Contract, access: SyncAccess, types: list[str]) -> Report:
    with ProgressLine("comparing", unit="records") as line:
        running = await worker_runs(access.conn, slot_name(contract, access.conn.info.dbname))
        return await compare(
            contract,
            access.url,
            access.stores,
            types=types,
            patience=PATIENCE if running else 0.0,
            progress=lambda name, done, total: line.update(done, total, f"comparing {name}"),
        )


async def _mark(access: SyncAccess, report: Report) -> int:
    marked = 0
    for type_name, sinks in report.types.items():
        for sink, found in sinks.items():
            await durable_backlog.add(access.conn, sink, type_name, found.keys, 0)
            marked += len(found.keys)
    return marked


async def _drained(
    access: SyncAccess, sinks: tuple[str, ...], contract: Contract, assure: Assure
) -> None:
    """Wait until the worker has taken what was marked. Raises TimeoutExceeded, and what `assure`
    raises."""
    deadline = time.monotonic() + REPAIR_PATIENCE
    for sink in sinks:
        while left := await durable_backlog.count(access.conn, sink, contract.types):
            assure()
            if time.monotonic() > deadline:
                raise TimeoutExceeded(
                    f"{left:,} records still wait in the backlog of {sink} after"
                    f" {REPAIR_PATIENCE:.0f} s",
                    hint=(
                        "they stay marked; `recordgate status` shows the sink's position, and"
                        " whether the worker runs"
                    ),
                )
            await asyncio.sleep(0.2)


def as_value(report: Report, repaired: int) -> dict[str, Any]:
    return {
        "differences": report.differences,
        "repaired": repaired,
        "types": {
            type_name: {
                sink: {
                    "generation": d.generation,
                    "expected": d.expected,
                    "records": d.canonical,
                    "missing": d.missing,
                    "extra": d.extra,
                    "different": d.different,
                    "unsettled": d.unsettled,
                    "behind": d.behind,
                    "unreadable": d.unreadable,
                    "examples": d.examples,
                }
                for sink, d in sinks.items()
            }
            for type_name, sinks in report.types.items()
        },
    }


def as_text(report: Report, repaired: int) -> str:
    lines = []
    for type_name, sinks in report.types.items():
        for sink, d in sinks.items():
            what = f"{type_name} in {sink}: {d.canonical:,} records"
            if d.unreadable:
                lines.append(
                    f"{type_name} in {sink}: not compared, canonical cannot read it: {d.unreadable}"
                )
                continue
            if not d.total:
                lines.append(f"{what}, no difference")
            else:
                lines.append(
                    f"{what}, {d.missing:,} missing, {d.extra:,} extra, {d.different:,} different"
                )
                lines += [f"  {kind}: {', '.join(keys)}" for kind, keys in d.examples.items()]
            if d.expected is not None:
                seen = "none" if d.generation is None else str(d.generation)
                lines.append(
                    f"  readers see generation {seen}, but by canonical's records {d.expected} is "
                    "active:"
                    f" run `recordgate reload {type_name} --sink {sink}`"
                )
            if d.unsettled:
                lines.append(f"  {d.unsettled:,} changed at every comparison")
            if d.behind and d.total:
                lines.append("  the sink is behind: is the worker running?")
    if repaired:
        lines.append(f"{repaired:,} records were marked and read again")
    lines.append(f"{report.differences:,} differences")
    return "\n".join(lines)
