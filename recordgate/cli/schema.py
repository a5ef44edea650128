"""The commands `plan` and `apply`: the difference contract → canonical, and carrying it out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from recordgate.canonical_access import open_canonical
from recordgate.cli.output import Exit, emit, invocation, reported, say
from recordgate.live import Affected, affected, lines, order, refuse_to_break
from recordgate.presence import is_gone
from recordgate.store_needs import Need, store_needs
from stores.canonical.apply import apply_plan, refuse
from stores.canonical.connect import Connection, connect
from stores.canonical.plan import make_plan
from stores.canonical.processes import alive
from stores.canonical.steps import SchemaPlan
from stores.contract.gates import whole_type_rules
from stores.contract.model import Contract

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)
    app.command("apply")(apply)


def plan(
    ctx: typer.Context,
    connector: Annotated[
        bool,
        typer.Option(
            "--connector", help="Print the configuration of Debezium's connector instead, as JSON."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the difference between the contract and canonical; change nothing. Exit code 1 where a
    step cannot be carried out as things are."""
    with reported(as_json=as_json), _opened(ctx) as (conn, contract, changes, url):
        if connector:
            from sync.sources.debezium import configured, shown

            config = shown(configured(changes, contract, url))
            emit(config, as_json=True, text="")
            return
        gates = _counted_gates(contract)
        found = make_plan(conn, contract)
        needs = store_needs(conn, contract)
        live = _live(conn, contract, found)
        emit(
            as_value(found, needs)
            | {
                "processes": [a.as_json() for a in live],
                "order": order(found, live),
                "gates": gates,
            },
            as_json=as_json,
            text=lambda: "\n".join(
                [as_text(found), *needs_lines(needs), *lines(found, live), *gate_lines(gates)]
            ),
        )
        if found.blocked:
            raise typer.Exit(Exit.FAILED)


def apply(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    allow_destructive: Annotated[
        bool, typer.Option("--allow-destructive", help="Also carry out steps that can lose data.")
    ] = False,
    break_live: Annotated[
        bool,
        typer.Option(
            "--break-live",
            help=(
                "Also carry out steps that break gateways or workers running with another contract."
            ),
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make canonical what the contract says: tables, publication, recordgate's own tables; and
    register Debezium's connector where changes come from Kafka."""
    from recordgate.migrations.run import migrate

    with reported(as_json=as_json), _opened(ctx) as (conn, contract, changes, url):
        found = make_plan(conn, contract)
        refuse(found, allow_destructive=allow_destructive)
        if not break_live:
            refuse_to_break(found, _live(conn, contract, found))
        if found.steps and not yes and sys.stdin.isatty() and not as_json:
            say(as_text(found))
            typer.confirm("Carry out these steps?", abort=True, err=True)
        migrated = migrate(conn)
        apply_plan(conn, contract, found, allow_destructive=allow_destructive)
        connector = None
        if changes.startswith("kafka:"):
            from sync.sources.debezium import apply_connector

            connector = apply_connector(changes, contract, url) or "not registered"
        left = _left_slot(conn, contract, changes)
        needs = store_needs(conn, contract)
        value = {"applied": len(found.steps), "migrated": migrated, **as_value(found, needs)}
        if left:
            value["leftSlot"] = left
        if connector:
            value["connector"] = str(connector)
        emit(
            value,
            as_json=as_json,
            text=lambda: "\n".join(
                [
                    done_text(found, migrated, connector),
                    *([left] if left else []),
                    *needs_lines(needs),
                ]
            ),
        )


def _live(conn: Connection, contract: Contract, found: SchemaPlan) -> list[Affected]:
    return affected(found, contract, [p for p in alive(conn) if not is_gone(p)])


def _left_slot(conn: Connection, contract: Contract, changes: str) -> str:
    """Drop the slot that the other change source has left, once a worker follows this one and none
    that one; what was done, or is to be, for people."""
    from sync.sources.left import drop_left_slot, left_slot, source_kind

    sources = {p.detail.get("changes") for p in alive(conn) if not is_gone(p)} - {None}
    if sources != {source_kind(changes)}:
        found = left_slot(conn, contract, changes)
    else:
        found = drop_left_slot(conn, contract, changes)
        if found and not found.active:
            return (
                f"the replication slot {found.name} of the change source {found.source} is dropped"
            )
    return f"the replication slot {found.text}: {found.hint}" if found else ""


@contextmanager
def _opened(ctx: typer.Context) -> Iterator[tuple[Connection, Contract, str, str]]:
    """Canonical, the contract, the setting `changes`, canonical's URL."""
    given = invocation(ctx)
    settings = given.settings()
    contract = given.contract(settings)
    with open_canonical(settings) as access:
        conn = connect(access.url)
        try:
            yield conn, contract, settings.changes.get_secret_value(), access.url
        finally:
            conn.close()


def as_value(found: SchemaPlan, needs: Sequence[Need]) -> dict[str, Any]:
    return {
        "steps": [s.as_json() for s in found.steps],
        "stores": [n.as_json() for n in needs],
        "destructive": len(found.destructive),
        "blocked": len(found.blocked),
    }


def as_text(found: SchemaPlan) -> str:
    """Return one line per step; `!` marks a destructive step, `x` one that cannot be carried
    out."""
    if not found.steps:
        return "nothing to do: canonical matches the contract"
    lines = []
    for step in found.steps:
        mark = "x" if step.blocked else "!" if step.destructive else "+"
        lines.append(f"{mark} {step.text}")
        lines += [f"    {remark}" for remark in (step.note, step.blocked) if remark]
    lines.append(f"{len(found.steps)} steps, {len(found.destructive)} destructive (!)")
    if found.blocked:
        lines[-1] += f", {len(found.blocked)} impossible as things are (x)"
    return "\n".join(lines)


def needs_lines(needs: Sequence[Need]) -> list[str]:
    """Return a line for each need of a store; the worker sees to it when it starts with this
    contract."""
    if not needs:
        return []
    return [
        *(f"~ {n.text}" for n in needs),
        "the worker does this when it starts with this contract (~)",
    ]


def _counted_gates(contract: Contract) -> dict[str, list[str]]:
    """Type → the rules of its gate that cost a look at the whole type at each import."""
    found = {t.name: [r.id for r in whole_type_rules(t)] for t in contract.types.values()}
    return {name: rules for name, rules in found.items() if rules}


def gate_lines(gates: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each type whose gate counts rules over the whole type."""
    return [
        f"= {name}: each import counts {', '.join(rules)} over the whole type, for its gate; the"
        " other rules of the"
        " gate look at the rows of the batch"
        for name, rules in gates.items()
    ]


def done_text(found: SchemaPlan, migrated: bool, connector: str | None = None) -> str:
    lines = ["recordgate's own tables are up to date"] if migrated else []
    if found.steps:
        lines += [f"+ {s.text}" for s in found.steps]
        lines.append(f"{len(found.steps)} steps done")
    else:
        lines.append(as_text(found))
    if connector == "not registered":
        lines.append(
            "the connector is not registered, because `changes` has no connect=URL; deploy it"
        )
        lines.append("yourself, with the configuration that `recordgate plan --connector` prints")
    elif connector:
        lines.append(f"Debezium's connector: {connector}")
    return "\n".join(lines)
