"""The commands `quality run` and `quality show`: measure the contract's rules, and show what they
came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import psycopg
import typer

from recordgate.canonical_access import open_canonical
from recordgate.cli.output import Exit, emit, invocation, reported
from recordgate.monitoring.quality import chosen_rules, history, last_results, run_rules
from recordgate.sync_access import chosen_types
from stores.canonical.connect import Connection, connect
from stores.canonical.driver_errors import translate
from stores.canonical.rule_results import BROKEN, FAILED, PASSED, Result, as_value
from stores.contract.model import Contract, RecordType
from stores.errors import InputError

HISTORY = 10
Type = Annotated[str | None, typer.Argument(metavar="[TYPE]", help="A record type; default: all.")]
Rules = Annotated[
    list[str] | None, typer.Option("--rule", metavar="ID", help="This rule only; can be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, help="Quality rules: measured, and what they came to."
    )
    group.command("run")(run)
    group.command("show")(show)
    app.add_typer(group, name="quality")


def run(
    ctx: typer.Context, type_name: Type = None, rule: Rules = None, as_json: AsJson = False
) -> None:
    """Measure the rules of the contract now and store the results; exit code 4 where one is broken
    or cannot be measured."""
    with reported(as_json=as_json):
        given = invocation(ctx)
        settings = given.settings()
        contract = given.contract(settings)
        records = _records(contract, type_name, rule or [])
        with open_canonical(settings) as access, connect(access.url) as conn:
            runs = [
                run_rules(
                    conn, contract, record, chosen_rules(record, rule or []),
                    started_by="command", timeout=settings.quality_timeout,
                )
                for record in records
            ]  # fmt: skip
    value = [r.as_value() for r in runs]
    emit({"types": value}, as_json=as_json, text=lambda: as_text(value))
    if any(rule["state"] in (BROKEN, FAILED) for found in value for rule in found["rules"]):
        raise typer.Exit(Exit.DIFFERENT)


def show(
    ctx: typer.Context, type_name: Type = None, rule: Rules = None, as_json: AsJson = False
) -> None:
    """Show the newest result of each rule, with its history; measure nothing. Exit code 4 where one
    is broken or could not be measured."""
    with reported(as_json=as_json):
        given = invocation(ctx)
        settings = given.settings()
        contract = given.contract(settings)
        records = _records(contract, type_name, rule or [])
        with open_canonical(settings) as access, connect(access.url) as conn:
            try:
                value = [_shown(conn, record, rule or []) for record in records]
            except psycopg.Error as error:
                raise translate(error, contract) from None
    emit({"types": value}, as_json=as_json, text=lambda: as_text(value))
    if any(rule["state"] in (BROKEN, FAILED) for found in value for rule in found["rules"]):
        raise typer.Exit(Exit.DIFFERENT)


def _records(contract: Contract, type_name: str | None, ids: Sequence[str]) -> list[RecordType]:
    """The types that have rules, of those named. Raises InputError where a rule is named that is
    not there."""
    named = [contract.types[name] for name in chosen_types(contract, type_name)]
    for rule_id in ids:
        if not any(rule.id == rule_id for record in named for rule in record.rules):
            known = ", ".join(rule.id for record in named for rule in record.rules)
            raise InputError(
                f"there is no rule {rule_id!r}", hint=f"one of {known}" if known else ""
            )
    return [record for record in named if chosen_rules(record, ids)]


def _shown(conn: Connection, record: RecordType, ids: Sequence[str]) -> dict[str, Any]:
    last = {found.rule.id: found for found in last_results(conn, record)}
    rules: list[dict[str, Any]] = []
    for rule in chosen_rules(record, ids):
        found = last.get(rule.id)
        result = Result(rule, "not measured yet")
        if found is not None:
            result = Result(
                rule, found.state, found.value, found.bad, found.total, found.problem,
                tuple(found.examples),
            )  # fmt: skip
        rules.append(
            as_value(result)
            | {
                "at": None if found is None else found.at.isoformat(),
                "history": history(conn, record, rule, HISTORY),
            }
        )
    return {"type": record.name, "rules": rules}


def as_text(types: Sequence[dict[str, Any]]) -> str:
    lines: list[str] = []
    for found in types:
        rows = f", {found['rows']:,} rows" if "rows" in found else ""
        lines.append(f"{found['type']}{rows}")
        lines += [line for rule in found["rules"] for line in rule_lines(rule)]
    return "\n".join(lines) or "the contract has no rules to measure"


def rule_lines(rule: dict[str, Any]) -> list[str]:
    """A result as text."""
    value = "not known" if rule["value"] is None else f"{rule['value']:,}"
    unit = " percent" if rule["unit"] == "percent" and rule["value"] is not None else ""
    lines = [
        f"  {rule['state']}: {rule['rule']} ({rule['severity']}): {value}{unit}, {rule['expected']}"
    ]
    if rule["problem"]:
        lines.append(f"    {rule['problem']}")
    if rule["state"] != PASSED and rule["examples"]:
        keys = ["/".join(str(v) for v in key.values()) for key in rule["examples"]]
        lines.append(f"    such as {', '.join(keys)}")
    return lines
