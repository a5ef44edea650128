"""The command `demo`: the whole system on real data, live or as a checked tour."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recordgate.cli.output import Exit, emit, reported, stderr
from recordgate.demo.data import CITIES
from recordgate.demo.servers import Stack, servers_of
from stores.private_files import UMASK

if TYPE_CHECKING:
    from recordgate.demo.tour import TourStep


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    check: Annotated[
        bool, typer.Option("--check", help="Run the scripted tour, print each step, and exit.")
    ] = False,
    stack: Annotated[Stack, typer.Option(help="Which stores.")] = Stack.EMBEDDED,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the gateway.")] = None,
    data_dir: Annotated[Path, typer.Option(help="Data folder of the demo.")] = Path(".recordgate"),
    reset: Annotated[bool, typer.Option("--reset", help="Start with an empty folder.")] = False,
    cities: Annotated[
        int,
        typer.Option(
            min=3_000, max=CITIES, help="Number of cities to load, the most populous first."
        ),
    ] = CITIES,
    kill_servers: Annotated[
        bool,
        typer.Option(
            "--kill-servers",
            help=(
                "With --check: kill each server of the stack with SIGKILL while changes flow,"
                " start it again, and see that every store equals Postgres. Servers started by"
                " `make servers` are shared by everyone who uses them."
            ),
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print JSON.")] = False,
) -> None:
    """The whole system on real data: countries and cities of GeoNames (CC BY 4.0)."""
    from recordgate.demo.live import show_live
    from recordgate.demo.processes import Commands
    from recordgate.demo.stage import set_stage
    from recordgate.demo.tour import Tour

    with reported(as_json=as_json):
        stderr.print("countries and cities of GeoNames, https://www.geonames.org/, CC BY 4.0")
        os.umask(UMASK)
        stage = set_stage(data_dir, stack, reset=reset or check, cities=cities)
        if not check:
            with stage.canonical():
                show_live(stage, port)
            return

        def report(step: TourStep) -> None:
            mark = "ok" if step.ok else "FAILED"
            stderr.print(f"{mark:>6}  {step.name}: {step.saw} [{step.seconds:.1f} s]", markup=False)

        victims = servers_of(stack, data_dir) if kill_servers else []
        tour = Tour(stage, Commands(stage.config), report, port=port or 0, servers=victims)
        with stage.canonical():
            passed = tour.run()
        emit(
            {
                "passed": passed,
                "steps": [
                    {"name": s.name, "ok": s.ok, "saw": s.saw, "seconds": round(s.seconds, 2)}
                    for s in tour.steps
                ],
            },
            as_json=as_json,
            text=lambda: _table(tour.steps, passed),
        )
        if not passed:
            raise typer.Exit(Exit.FAILED)


def _table(steps: list[TourStep], passed: bool) -> str:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="recordgate demo --check", show_lines=False)
    for column in ("step", "saw", "s", ""):
        table.add_column(column, justify="right" if column == "s" else "left", overflow="fold")
    for step in steps:
        table.add_row(step.name, step.saw, f"{step.seconds:.1f}", "ok" if step.ok else "FAILED")
    console = Console(width=120, record=True, file=None)
    with console.capture() as capture:
        console.print(table)
        console.print("the tour passed" if passed else "the tour FAILED", highlight=False)
    return capture.get().rstrip()
