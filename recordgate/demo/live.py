"""`recordgate demo` without --check: import, serve, and one live line until Ctrl-C."""

from __future__ import annotations

import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

from rich.live import Live
from rich.text import Text

from recordgate.cli.output import ProgressLine, stderr
from recordgate.demo.processes import Commands
from recordgate.demo.queries import SAMPLES, Client
from recordgate.demo.stage import Stage
from recordgate.settings import load_settings
from stores.errors import SetupError, StoreUnavailable
from stores.roles import STORE_ROLES


def show_live(stage: Stage, port: int | None) -> None:
    """Run the demo until it is interrupted; both processes are stopped at the end."""
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    commands = Commands(stage.config)
    started = time.monotonic()
    try:
        if port is None:
            port = free_port(load_settings(stage.config).port)
        commands.run("apply", "--yes")
        for type_name, file in (("country", stage.data.countries), ("city", stage.data.cities)):
            report = commands.run("import", type_name, str(file)).output
            stderr.print(
                f"imported {type_name}: {report['inserted']:,} new, {report['updated']:,} changed, "
                f"{report['unchanged']:,} unchanged in {report['seconds']:.1f} s"
            )
        process, url = commands.start_gateway("up", "--port", str(port), log=stage.log("up"))
        client = Client(url)
        _wait_until_loaded(client, stop)
        first = client.query(SAMPLES["by key, with its country (documents)"])
        if first.errors:
            raise SetupError(f"the first query failed: {first.errors[0].get('message')}")
        stderr.print(f"first query answered {time.monotonic() - started:.1f} s after the start")
        stderr.print(f"\npages    {url}/\nGraphQL  {url}/graphql\nconsole  {url}/console\n")
        for name, query in SAMPLES.items():
            stderr.print(f"# {name}\n{query}\n", markup=False, soft_wrap=True)
        stderr.print("Press Ctrl-C to stop.")
        _watch(client, process, stop)
    finally:
        commands.stop_all()


def _wait_until_loaded(client: Client, stop: threading.Event) -> None:
    """Wait for the first load; on existing data there is nothing to wait for."""
    with ProgressLine("loading the stores", unit="of 2 stores") as progress:
        while not stop.wait(0.1):
            stores = client.get("/console/state")["stores"]
            loaded = [n for n in STORE_ROLES if stores[n].get("watermark")]
            progress.update(len(loaded), 2)
            if len(loaded) == 2:
                return


def free_port(preferred: int) -> int:
    """`preferred` where nobody listens on it, else 0: any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return 0
    return preferred


def _watch(client: Client, process: Any, stop: threading.Event) -> None:
    """The live line: redrawn twice a second on a terminal, else printed every ten seconds."""
    every = 0.5 if stderr.is_terminal else 10.0
    with Live(console=stderr, auto_refresh=False, transient=True) as live:
        while not stop.wait(every):
            if process.poll() is not None:
                raise SetupError("the gateway exited unexpectedly; see up.log in the data folder")
            try:
                line = live_line(client.get("/console/state"))
            except StoreUnavailable as error:
                line = str(error)
            if stderr.is_terminal:
                live.update(Text(line), refresh=True)
            else:
                stderr.print(line, markup=False)


def live_line(state: dict[str, Any]) -> str:
    """Return one line: the age of each store's answers, what waits, and the last queries."""
    sinks = (state.get("sync") or {}).get("sinks", {})
    parts = []
    for name in STORE_ROLES:
        store = state["stores"][name]
        age = store.get("stalenessMs")
        old = "not loaded yet" if age is None else f"at most {age / 1000:.1f} s old"
        waiting = sinks.get(name, {}).get("lagBytes")
        parts.append(f"{name}: {old}" + (f", {waiting / 1e6:.1f} MB behind" if waiting else ""))
    queries = [r for r in state["requests"] if r["path"] == "/graphql"][:3]
    last = [f"{', '.join(r['stores']) or '-'} {r['milliseconds']:.0f} ms" for r in queries]
    return " · ".join(parts + (["last queries: " + "; ".join(last)] if last else []))
