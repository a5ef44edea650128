"""The commands `up`, `serve` and `sync`: gateway and worker in one process, or each alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any

import typer

from recordgate.cli.output import configure_logging, invocation, reported, say

Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free port.")
]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]


def register(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("serve")(serve)
    app.command("sync")(sync)


def up(ctx: typer.Context, port: Port = None, host: Host = None) -> None:
    """Gateway and sync worker in one process; sets up a database that is new."""
    _run(ctx, "up", port=port, host=host)


def serve(ctx: typer.Context, port: Port = None, host: Host = None) -> None:
    """The gateway alone."""
    _run(ctx, "serve", port=port, host=host)


def sync(
    ctx: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port for health and metrics; 0: any free port."),
    ] = None,
    host: Host = None,
) -> None:
    """The sync worker alone."""
    _run(ctx, "sync", worker_port=port, host=host)


def _run(ctx: typer.Context, role: str, **overrides: Any) -> None:
    given = invocation(ctx)
    with reported():
        settings = given.settings(**overrides)
        configure_logging(given.verbosity, settings.log_level)
        contract = given.contract(settings)

        async def main() -> None:
            from recordgate.cli.loads import tell_loads, urls
            from recordgate.runtime import Role, Runtime

            async with Runtime(settings, contract, Role(role)) as runtime:
                told = [] if role == "sync" else urls(contract, pages=settings.pages)
                loads = (lambda: tell_loads(runtime.readiness)) if role == "up" else None
                await runtime.run(lambda url: _announce(url, told), loads)

        _looped(main())


def _looped(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where there is one."""
    try:
        import uvloop
    except ModuleNotFoundError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def _announce(url: str, paths: Sequence[tuple[str, str]]) -> None:
    typer.echo(f"listening on {url}")
    sys.stdout.flush()
    for what, path in paths:
        say(f"{what:<8} {url}{path}")
