"""The commands `reload` and `rollback`: the next generation of a type, and the one before. The
running worker does it; where none runs, this process is the worker for as long as it takes."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from recordgate.cli.output import ProgressLine, emit, invocation, reported
from recordgate.settings import Settings
from recordgate.sync_access import chosen_sinks, chosen_types, sync_access, with_worker
from stores.contract.model import Contract
from stores.errors import ConflictError, RecordgateError
from sync import requests

POLL = 0.1

Type = Annotated[str, typer.Argument(metavar="TYPE")]
Sink = Annotated[str | None, typer.Option("--sink", metavar="NAME", help="search or documents.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command("reload")(reload)
    app.command("rollback")(rollback)


def reload(ctx: typer.Context, type_name: Type, sink: Sink = None, as_json: Json = False) -> None:
    """Build the next generation of TYPE beside the active one, then swap them in one step."""
    _run(ctx, "reload", type_name, sink, as_json)


def rollback(ctx: typer.Context, type_name: Type, sink: Sink = None, as_json: Json = False) -> None:
    """Make the generation before the active one what readers see; it has all changes."""
    _run(ctx, "rollback", type_name, sink, as_json)


def _run(ctx: typer.Context, action: str, type_name: str, sink: str | None, as_json: bool) -> None:
    with reported(as_json=as_json):
        given = invocation(ctx)
        settings = given.settings()
        contract = given.contract(settings)
        (name,) = chosen_types(contract, type_name)
        value = asyncio.run(_ask(settings, contract, action, name, sink))
    emit(value, as_json=as_json, text=lambda: _as_text(value))


async def _ask(
    settings: Settings, contract: Contract, action: str, type_name: str, sink: str | None
) -> dict[str, Any]:
    sinks = chosen_sinks(sink)
    async with (
        sync_access(settings, contract, ()) as access,
        with_worker(settings, contract, access, sinks, [type_name]) as assure,
    ):
        total = await _count(access.conn, contract, type_name)
        request = await requests.ask(access.conn, action, type_name, sink)
        with ProgressLine(f"{action} {type_name}", unit="records") as line:
            while True:
                state, message, targets, rows = await requests.state(access.conn, request)
                if state == "done":
                    break
                if state == "failed":
                    raise ConflictError(message)
                if targets and action == "reload":
                    line.update(rows, total * len(targets))
                try:
                    assure()
                except RecordgateError as error:
                    await requests.withdraw(access.conn, request, str(error))
                    raise
                await asyncio.sleep(POLL)
    return {"action": action, "type": type_name, "generations": targets}


async def _count(conn: Any, contract: Contract, type_name: str) -> int:
    from psycopg import sql

    record_type = contract.types[type_name]
    cursor = await conn.execute(
        sql.SQL("SELECT count(*) FROM {}").format(
            sql.Identifier(record_type.schema, record_type.table)
        )
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


def _as_text(value: dict[str, Any]) -> str:
    return "\n".join(
        f"{value['type']} in {sink}: generation {number} is active"
        for sink, number in value["generations"].items()
    )
