"""The lines that `up` tells: where to ask and how the loads go on stderr, and on stdout when all is
loaded."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import typer

from recordgate.cli.output import ProgressLine, say
from stores.contract.model import Contract

EVERY = 0.5
"""Seconds between two looks at the loads."""
ALL_LOADED = "all loaded"
"""The line of stdout that ends the first loads; quickstart, and scripts, wait for it."""
MOST = 10
"""Types whose search is named; more are counted."""


def urls(contract: Contract, *, pages: bool = True) -> list[tuple[str, str]]:
    """Return the places where somebody may ask, as what they are and their paths. `pages`: whether
    there are some."""
    found = [("pages", "/")] if pages else []
    found += [("GraphQL", "/graphql"), ("console", "/console")]
    searched = [t.name for t in contract.types.values() if t.searchable]
    found += [("search", f"/search/{name}?q=") for name in searched[:MOST]]
    if len(searched) > MOST:
        found.append(("search", f"/search/TYPE?q=, {len(searched) - MOST} types more"))
    return found


def is_loaded(stores: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether every store that a type needs holds it."""
    return all(s["state"] == "loaded" for s in stores.values())


def progress_of(types: Mapping[str, Mapping[str, Any]]) -> tuple[int, int | None]:
    """Return how many records the loads that run have written, and of how many; None where no one
    knows."""
    loads = [s["loading"] for stores in types.values() for s in stores.values() if "loading" in s]
    done = sum(load["records"] for load in loads)
    totals = [load["of"] for load in loads]
    return done, None if None in totals or not totals else max(sum(totals), done)


async def tell_loads(readiness: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """Tell each type once every store that it needs holds it, and how far the loads are, until all
    is loaded. The log tells what keeps a type from it."""
    told: set[str] = set()
    with ProgressLine("loading", unit="records") as line:
        while True:
            types = (await readiness())["types"]
            for name, stores in types.items():
                if name not in told and is_loaded(stores):
                    told.add(name)
                    say(f"{name}: loaded in {', '.join(sorted(stores)) or 'canonical'}")
            if all(map(is_loaded, types.values())):
                break
            done, total = progress_of(types)
            if done:
                line.update(done, total)
            await asyncio.sleep(EVERY)
    typer.echo(ALL_LOADED)
    sys.stdout.flush()
