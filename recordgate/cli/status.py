"""The command `status`: sinks, generations, positions, lag, backlog, dead letters, slot, last
imports."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from recordgate.cli.output import emit, invocation, reported
from recordgate.settings import Settings
from recordgate.sync_access import sync_access
from recordgate.sync_status import sync_status
from stores.contract.model import Contract


def register(app: typer.Typer) -> None:
    app.command("status")(status)


def status(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show each store's position and what is wrong; works with the worker or a store down."""
    with reported(as_json=as_json):
        given = invocation(ctx)
        settings = given.settings()
        value = asyncio.run(_status(settings, given.contract(settings)))
    emit(value, as_json=as_json, text=lambda: as_text(value))


async def _status(settings: Settings, contract: Contract) -> dict[str, Any]:
    async with sync_access(settings, contract) as access:
        return await sync_status(contract, access, settings.changes.get_secret_value())


def as_text(value: dict[str, Any]) -> str:
    worker, slot = value["worker"], value["slot"]
    lines = [f"canonical  Postgres {value['canonical']['version']} at {value['canonical']['lsn']}"]
    lines.append(f"worker     {_worker(worker)}")
    if slot["exists"]:
        lines.append(f"slot       {_slot(slot)}")
    for found in value["conditions"]:
        lines.append(f"condition  {_condition(found)}")
        if found["hint"]:
            lines.append(f"           {found['hint']}")
    if value["leftSlot"]:
        left = value["leftSlot"]
        lines.append(
            f"left slot  {left['name']} of the change source {left['source']} keeps"
            f" {left['retainedBytes']:,} bytes of WAL: {left['hint']}"
        )
    for process in value["processes"]:
        contract = f"contract {process['contractVersion']}"
        if not process["sameContract"]:
            contract += ", which differs from yours"
        if process["otherSecret"]:
            contract += "; its token secret differs from that of other gateways (token_secret_file)"
        if process["reload"] and not process["reload"]["ok"]:
            contract += f"; it has refused another one: {process['reload']['said']}"
        lines.append(
            f"process    {process['role']} on {process['host']}, process {process['pid']},"
            f" {contract}"
        )
    for name, sink in value["sinks"].items():
        if not sink["reached"]:
            lines.append(f"{name:10} not reached: {sink['problem']}")
            continue
        where = (
            (
                f"at {sink['position']}, {sink['lagBytes']:,} bytes and {sink['lagSeconds']:.1f} s"
                " behind"
            )
            if sink["position"]
            else "nothing published yet"
        )
        lines.append(
            f"{name:10} {where}; backlog {sink['backlog']:,}, dead letters {sink['deadLetters']:,}"
        )
        for type_name, found in sink["types"].items():
            load = sink["loads"].get(type_name)
            building = (
                f"; building generation {load['generation']}, {load['records']:,} {_of(load['of'])}"
                if load
                else ""
            )
            held = (
                "not loaded"
                if found["generation"] is None
                else f"{found['records']:,} records, generation {found['generation']}"
            )
            differing = (sink["sweeps"].get(type_name) or {}).get("differences")
            swept = f"; {differing:,} differ from canonical" if differing else ""
            lines.append(f"  {type_name}: {held}{building}{swept}")
    lines += [
        f"import     {i['id']}: {i['type']} {i['mode']}, {i['state']}, {i['rows']:,} rows,"
        f" {i['rejected']:,} set aside"
        for i in value["imports"]
    ]
    return "\n".join(lines)


def _worker(worker: dict[str, Any]) -> str:
    where = f"on {worker['host']}, process {worker['pid']}"
    if worker["running"]:
        return f"running {where}"
    return f"restarting {where}: see the conditions" if worker["retrying"] else "not running"


def _slot(slot: dict[str, Any]) -> str:
    """A lost slot keeps nothing."""
    if slot["retainedBytes"] is None:
        return f"{slot['name']}: {slot['walStatus'] or 'it has no position yet'}"
    return f"{slot['name']} keeps {slot['retainedBytes']:,} bytes of WAL"


def _condition(found: dict[str, Any]) -> str:
    place = ": ".join(part for part in (found["sink"], found["type"], found["code"]) if part)
    return f"{place}: {found['message']}"


def _of(total: int | None) -> str:
    return "records so far" if total is None else f"of about {total:,} records"
