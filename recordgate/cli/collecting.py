"""The commands `collect run|status|probe|pause|resume|backfill|replay|reset|propose`."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from recordgate.canonical_access import open_canonical
from recordgate.cli.output import Exit, configure_logging, emit, invocation, reported
from recordgate.collect_access import surroundings
from recordgate.collecting.addresses import Allowed
from recordgate.collecting.walk import Surroundings
from stores.canonical.connect import Connection, connect
from stores.canonical.driver_errors import of_own_tables
from stores.errors import ConflictError, InputError

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="TYPE", help="A type with a source.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        help="Other products' and raw data into canonical, from their sources.",
    )
    for command in (run, status, probe, pause, resume, backfill, replay, reset, propose):
        group.command(command.__name__)(command)
    app.add_typer(group, name="collect")


@contextmanager
def _opened(ctx: typer.Context) -> Iterator[tuple[Surroundings, Connection]]:
    from recordgate.collecting import books

    given = invocation(ctx)
    settings = given.settings()
    contract = given.contract(settings)
    configure_logging(given.verbosity, settings.log_level)
    with (
        open_canonical(settings) as canonical,
        connect(canonical.url) as connection,
        of_own_tables(contract),
    ):
        books.register(connection, contract)
        yield surroundings(settings, canonical.url, contract), connection


def _source(at: Surroundings, name: str) -> None:
    record = at.contract.types.get(name)
    if record is None or record.collect is None:
        named = [t for t, r in at.contract.types.items() if r.collect]
        raise InputError(
            f"the contract says no source of {name!r}",
            hint=f"it does of {', '.join(named)}" if named else "docs/howto/collect.md shows one",
        )


def run(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[TYPE...]", help="These; else all there are.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="One walk of each, due or not, then end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Collect until stopped; with --once: exit 0 done, 1 failed, 3 done with rows set aside."""
    from recordgate.collecting.collector import Collector

    with reported(as_json=as_json), _opened(ctx) as (at, connection):
        for name in names or []:
            _source(at, name)
        chosen = names or list(at.contract.collected)
        if not once:
            if names:
                types = {
                    n: t if n in names else dataclasses.replace(t, collect=None)
                    for n, t in at.contract.types.items()
                }
                at = dataclasses.replace(at, contract=dataclasses.replace(at.contract, types=types))
            collector = Collector(at)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: collector.stop())
            collector.run()
            return
        done = {name: _once(at, connection, name) for name in chosen}
    emit(done, as_json=as_json, text=lambda: "\n".join(_line(n, v) for n, v in done.items()))
    if any(v["rejected"] for v in done.values()):
        raise typer.Exit(Exit.SET_ASIDE)


def _once(at: Surroundings, connection: Connection, name: str) -> dict[str, Any]:
    from recordgate.collecting import books
    from recordgate.collecting.collector import collect_once
    from recordgate.collecting.landing import HOST
    from stores.canonical.importing.run import ImportSession

    lease = books.take(connection, [name], f"{HOST}:once", at_once=True)
    if lease is None:
        raise ConflictError(
            f"another collector has the source {name}", hint="wait until it has ended"
        )
    with ImportSession(at.url, at.contract) as session:
        return dataclasses.asdict(collect_once(at, connection, session, lease))


def _line(name: str, done: dict[str, Any]) -> str:
    counted = "  ".join(
        f"{key} {done[key]:,}"
        for key in ("pages", "read", "inserted", "updated", "unchanged", "deleted")
    )
    aside = f"  set aside {done['rejected']:,}" if done["rejected"] else ""
    incomplete = f"\n  nothing was deleted: {done['incomplete']}" if done["incomplete"] else ""
    return f"{name}: {counted}{aside}{incomplete}"


def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Each source: its state, how old what it gave is, how far it was read, what is wrong."""
    from recordgate.collecting import books

    with reported(as_json=as_json), _opened(ctx) as (at, connection):
        rows = [r for r in books.all_sources(connection) if r["name"] in at.contract.types]
    value = [
        {
            "source": r["name"], "state": r["state"], "asOf": r["as_of"], "ageSeconds": r["age"],
            "askedAt": r["asked_at"], "nextAt": r["next_at"], "owner": r["owner"],
            "pages": r["pages"],
            "rows": r["rows"], "rejected": r["rejected"], "deleted": r["deleted"],
            "failures": r["failures"], "code": r["code"], "problem": r["problem"],
            "hint": r["hint"], "cursor": r["cursor"],
        }
        for r in rows
    ]  # fmt: skip
    emit(
        {"sources": value},
        as_json=as_json,
        text=lambda: "\n".join(_told(v) for v in value) or "no source",
    )


def _told(row: dict[str, Any]) -> str:
    age = "never whole" if row["ageSeconds"] is None else f"as of {row['ageSeconds']:,.0f} s ago"
    text = f"{row['source']}: {row['state']}, {age}, pages {row['pages']:,}, rows {row['rows']:,}"
    if row["problem"]:
        text += f"\n  {row['code']}: {row['problem']}"
    return text + (f"\n  hint: {row['hint']}" if row["problem"] and row["hint"] else "")


def pause(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Ask it no more; what is under way commits nothing more."""
    _act(ctx, name, "paused", as_json)


def resume(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Ask it again; one that froze is taken in its new shape."""
    _act(ctx, name, "resumed", as_json)


def reset(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Read it again from its beginning; records stay."""
    _act(ctx, name, "reset", as_json)


def backfill(
    ctx: typer.Context,
    name: Name,
    since: Annotated[str, typer.Option(help="The mark from which to read again.")],
    as_json: Json = False,
) -> None:
    """Read again what changed since a mark; the next walk does it."""
    _act(ctx, name, "backfill", as_json, since)


def _act(ctx: typer.Context, name: str, what: str, as_json: bool, since: str = "") -> None:
    from recordgate.collecting import books

    with reported(as_json=as_json), _opened(ctx) as (at, connection):
        _source(at, name)
        if what == "paused":
            books.pause(connection, name)
        elif what == "resumed":
            books.resume(connection, name)
            books.over(connection, name)
        elif what == "reset":
            books.reset(connection, name)
        else:
            collect = at.contract.types[name].collect
            if collect is None or collect.since is None:
                raise InputError(f"the source of {name} has no `since`", hint="use `collect reset`")
            books.begin_at(connection, name, since)
    emit({"source": name, "done": what}, as_json=as_json, text=f"{name}: {what}")


def replay(
    ctx: typer.Context,
    landings: Annotated[list[int], typer.Argument(metavar="LANDING...", help="Their numbers.")],
    as_json: Json = False,
) -> None:
    """Merge landings again, as the contract maps them now; cursors stay."""
    from recordgate.collecting.replaying import replay as again

    with reported(as_json=as_json), _opened(ctx) as (at, connection):
        done = again(at, connection, landings)
    emit(done, as_json=as_json, text=lambda: "\n".join(_line(str(n), v) for n, v in done.items()))


def propose(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show the properties that the contract would have for the source's present shape."""
    from recordgate.collecting.proposing import proposal

    with reported(as_json=as_json), _opened(ctx) as (at, connection):
        _source(at, name)
        text = proposal(at, connection, name)
    emit({"source": name, "proposal": text}, as_json=as_json, text=text)


def probe(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(help="Where a page of JSON is.")],
    as_json: Json = False,
) -> None:
    """Look at one page, and print a `collect` block for it. Nothing is collected."""
    from recordgate.collecting.probing import probed

    with reported(as_json=as_json):
        text = probed(url, Allowed.parse(invocation(ctx).settings().collect_allow))
    emit({"collect": text}, as_json=as_json, text=text)
