"""Workers in processes of their own that can be killed, ready within a moment: they are forked from
a process that has imported everything and waits. `python -m tests.histories.workers` is that
process.

Each is given short waits and small batches, so that little data meets every page, spill and retry.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.registry import REGISTRY, open_store
from sync import delivery, pace, relief, requests, table_watch, unit_reader, worker
from sync.sources.registry import open_source
from tests.histories.contract import FILE
from tests.histories.faulty import with_faults

HASTE: dict[Any, dict[str, float]] = {
    unit_reader: {"LOAD_PAGE": 7, "POLL": 0.2},
    relief: {"SPILL_FAILING": 0.2, "SPILL_SLOW": 2.0},
    requests: {"POLL": 0.05},
    worker: {"RECORD": 0.1, "RECORD_IDLE": 0.5, "CHANGES_AHEAD": 50},
    delivery: {"RESENDS": 3},
    pace: {"BUSY": 0.05},
    table_watch: {"PACE": 0.2, "AGAIN": 0.5},
}
"""Module → constants that are made small."""
BATCH = 7
MEMORY_KEYS = 40


@dataclass(frozen=True, slots=True)
class Spec:
    """What a worker needs. `stores`: sink → URL. `folder` has the contract, the local stores and
    the log."""

    canonical: str
    folder: str
    stores: dict[str, str]
    changes: str = "pgoutput:"


class Nursery:
    """The waiting process."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds the contract of all its workers."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.histories.workers", str(folder)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def fork(self, spec: Spec) -> Forked:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(asdict(spec)), file=self._process.stdin, flush=True)
        return Forked(int(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)


class Forked:
    """A worker that runs. It is known by a descriptor, for its id is somebody else's soon after its
    end: a signal to the id could end any process of the machine."""

    def __init__(self, pid: int) -> None:
        self.pid, self.paused = pid, False
        self._process = _process(pid)

    @property
    def alive(self) -> bool:
        return self._process is not None and not _ended(self._process)

    def pause(self) -> None:
        self.paused = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.paused = False
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """A clean end. One that does not come within 20 seconds is a failure of the worker."""
        if self.paused:
            self.resume()
        self._end(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._process, number)

    def _end(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._signal(number)
        deadline = time.monotonic() + 20
        while self.alive:
            assert time.monotonic() < deadline, f"the worker does not end on {number.name}"
            time.sleep(0.002)
        if self._process is not None:
            os.close(self._process)
            self._process = None


def _process(pid: int) -> int | None:
    """A descriptor of the process; None where it is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _ended(process: int) -> bool:
    return bool(select.select([process], [], [], 0)[0])


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are reaped at once
    contract = load_contract(Path(sys.argv[1]) / FILE)
    for row in REGISTRY.values():
        with suppress(ImportError):  # an extra that is not installed
            import_module(row.factory.partition(":")[0])
    children: list[int] = []
    for line in sys.stdin:
        for ended in [child for child in children if _ended(child)]:
            children.remove(ended)
            os.close(ended)
        pid = os.fork()
        if pid == 0:
            _child(Spec(**json.loads(line)), contract)
        child = _process(pid)
        if child is not None:
            children.append(child)
        print(pid, flush=True)
    for child in children:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(child, signal.SIGKILL)


def _child(spec: Spec, contract: Contract) -> None:
    """Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    folder = Path(spec.folder)
    log = os.open(folder / "worker.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        logging.basicConfig(
            level="INFO", format="%(asctime)s %(process)d %(name)s %(message)s", force=True
        )
        logging.getLogger("elastic_transport").setLevel("WARNING")
        asyncio.run(_work(spec, folder, contract))
        code = 0
    except BaseException:
        logging.exception("the worker died")
    finally:
        os._exit(code)


async def _work(spec: Spec, folder: Path, contract: Contract) -> None:
    for module, constants in HASTE.items():
        for name, value in constants.items():
            assert hasattr(module, name), f"{module.__name__}.{name} is no more"
            setattr(module, name, type(getattr(module, name))(value))
    pace.Backoff.__init__.__defaults__ = (0.02, 0.2)
    sinks = {
        sink: with_faults(open_store(url, folder, role=sink), folder, sink)
        for sink, url in spec.stores.items()
    }
    found = worker.Worker(
        contract=contract,
        canonical_url=spec.canonical,
        source=lambda: open_source(spec.changes, contract, spec.canonical),
        sinks=sinks,
        batch_size=BATCH,
        backlog_memory_keys=MEMORY_KEYS,
    )
    tasks = []
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: tasks.append(asyncio.create_task(found.stop()))
    )
    await found.run()


if __name__ == "__main__":
    main()
