"""The commands `deadletters list|show|replay|discard`: rows and documents that were set aside."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import orjson
import typer

from recordgate.canonical_access import open_canonical
from recordgate.cli.output import Exit, emit, invocation, reported
from stores.canonical import dead_letters
from stores.canonical.connect import connect
from stores.canonical.dead_letters import KINDS, DeadLetter, Replayed, Selection
from stores.errors import InputError

Kind = Annotated[str | None, typer.Option(help="Kind of dead letter: import, sink or source.")]
Type = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="A record type.")]
Sink = Annotated[str | None, typer.Option(metavar="NAME", help="A sink.")]
Batch = Annotated[str | None, typer.Option(metavar="ID", help="Batch id of an import.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID...]")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        help="List, show, replay and discard rows and documents that were set aside.",
    )
    group.command("list")(list_)
    group.command("show")(show)
    group.command("replay")(replay)
    group.command("discard")(discard)
    app.add_typer(group, name="deadletters")


def list_(
    ctx: typer.Context,
    kind: Kind = None,
    type_name: Type = None,
    sink: Sink = None,
    batch: Batch = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help="Maximum number of dead letters to list.")
    ] = 50,
    as_json: Json = False,
) -> None:
    """List them, the oldest first."""
    with reported(as_json=as_json):
        chosen = selection((), kind, type_name, sink, batch)
        with open_canonical(invocation(ctx).settings()) as at, connect(at.url) as connection:
            found = dead_letters.find(connection, chosen, limit)
            total = dead_letters.count(connection, chosen)
    value = {"total": total, "deadLetters": [as_value(d, whole=False) for d in found]}
    emit(value, as_json=as_json, text=lambda: as_lines(found, total))


def show(
    ctx: typer.Context,
    identifier: Annotated[int, typer.Argument(metavar="ID")],
    as_json: Json = False,
) -> None:
    """Show one with every reason and what is kept of it."""
    with reported(as_json=as_json):
        chosen = Selection(ids=(identifier,))
        with open_canonical(invocation(ctx).settings()) as at, connect(at.url) as connection:
            found = dead_letters.find(connection, chosen, 1)
        if not found:
            raise InputError(f"there is no dead letter {identifier}")
    value = as_value(found[0], whole=True)
    emit(value, as_json=as_json, text=lambda: as_page(value))


def replay(
    ctx: typer.Context,
    ids: Ids = None,
    kind: Kind = None,
    type_name: Type = None,
    sink: Sink = None,
    batch: Batch = None,
    as_json: Json = False,
) -> None:
    """Try again: rows by importing them, documents by the worker. Exit 3: some are still bad."""
    with reported(as_json=as_json):
        chosen = selection(tuple(ids or ()), kind, type_name, sink, batch)
        if chosen == Selection():
            raise InputError(
                "no dead letters are selected", hint="name ids, or select by --type or --batch"
            )
        given = invocation(ctx)
        settings = given.settings()
        contract = given.contract(settings)
        with open_canonical(settings) as at:
            done = dead_letters.replay(at.url, contract, chosen)
    emit(replay_value(done), as_json=as_json, text=lambda: replay_text(done))
    if done.still_bad or done.impossible:
        raise typer.Exit(Exit.SET_ASIDE)


def discard(
    ctx: typer.Context,
    ids: Ids = None,
    kind: Kind = None,
    type_name: Type = None,
    sink: Sink = None,
    batch: Batch = None,
    as_json: Json = False,
) -> None:
    """Delete them for good."""
    with reported(as_json=as_json):
        chosen = selection(tuple(ids or ()), kind, type_name, sink, batch)
        with open_canonical(invocation(ctx).settings()) as at, connect(at.url) as connection:
            number = dead_letters.discard(connection, chosen)
    emit({"discarded": number}, as_json=as_json, text=f"{number:,} discarded")


def selection(
    ids: tuple[int, ...],
    kind: str | None,
    type_name: str | None,
    sink: str | None,
    batch: str | None,
) -> Selection:
    if kind is not None and kind not in KINDS:
        raise InputError(f"unknown kind {kind!r}", hint=f"the kinds are {', '.join(KINDS)}")
    return Selection(ids, kind, type_name, sink, batch)


def as_value(letter: DeadLetter, *, whole: bool) -> dict[str, Any]:
    value = dataclasses.asdict(letter)
    if not whole:
        del value["payload"]
    return value


def as_lines(found: list[DeadLetter], total: int) -> str:
    if not found:
        return "no dead letters"
    lines = []
    for letter in found:
        at = letter.sink or letter.batch or ""
        where = f"{letter.type or '-'}/{letter.key or '-'}"
        line = f" line {letter.line}" if letter.line is not None else ""
        codes = ",".join(dict.fromkeys(str(r.get("code")) for r in _reasons(letter)))
        lines.append(
            f"{letter.id:>8}  {letter.kind:<6}  {at}{line}  {where}  {codes or letter.code}"
        )
    if total > len(found):
        lines.append(f"{total - len(found):,} more; see --limit")
    return "\n".join(lines)


def _reasons(letter: DeadLetter) -> list[dict[str, Any]]:
    reasons = letter.reasons if isinstance(letter.reasons, list) else [letter.reasons]
    return [r for r in reasons if isinstance(r, dict) and r.get("code")]


def as_page(value: dict[str, Any]) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2).decode()


def replay_value(done: Replayed) -> dict[str, Any]:
    return {
        "cured": done.cured,
        "queued": done.queued,
        "stillBad": done.still_bad,
        "impossible": {str(i): why for i, why in done.impossible.items()},
    }


def replay_text(done: Replayed) -> str:
    lines = [
        f"{len(done.cured):,} replayed, {len(done.queued):,} returned to the worker,"
        f" {len(done.still_bad):,} still bad, {len(done.impossible):,} cannot be replayed"
    ]
    lines += [f"  {i}: still bad, see `recordgate deadletters show {i}`" for i in done.still_bad]
    lines += [f"  {i}: {why}" for i, why in sorted(done.impossible.items())]
    return "\n".join(lines)
