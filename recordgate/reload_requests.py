"""Asks the gateways and workers that are alive to read their contract and keys again, and waits for
what comes of it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from recordgate.presence import is_gone
from recordgate.reloading import takes_hangup
from stores.canonical.connect import Connection
from stores.canonical.processes import Process, Reloaded, alive, ask_to_reload

LOOK = 0.1
"""Seconds between two looks at what the processes say."""
PATIENCE = 60.0
"""Seconds that a process has by default: it hears of it within ten, and makes its schema anew."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one process. `ok` False: it goes on with what it had."""

    process: Process
    ok: bool
    said: str

    @property
    def text(self) -> str:
        return f"{'+' if self.ok else '!'} {self.process.name}: {self.said}"

    def as_json(self) -> dict[str, Any]:
        return {**self.process.as_json(), "ok": self.ok, "said": self.said}


def living(conn: Connection) -> list[Process]:
    """The processes that are alive, but those that are known to have ended."""
    return [p for p in alive(conn) if not is_gone(p)]


def ask(
    conn: Connection,
    processes: Sequence[Process],
    *,
    patience: float = PATIENCE,
    heard: Callable[[int], None] = lambda _: None,
) -> list[Answer]:
    """Ask each of `processes`, and return their answers in order. `heard` is told how many have
    answered so far. One that ends meanwhile has nothing to read again."""
    asked = ask_to_reload(conn, processes)
    for process in processes:
        if process.id in asked:
            _wake(process)
    answers: dict[UUID, Answer] = {
        p.id: Answer(p, False, "it cannot read its contract again while it runs: restart it")
        for p in processes
        if p.id not in asked
    }
    end = time.monotonic() + patience
    while len(answers) < len(processes) and time.monotonic() < end:
        now = {p.id: p for p in living(conn)}
        for process in processes:
            if process.id not in answers:
                found = _answer(process, now.get(process.id), asked[process.id])
                if found is not None:
                    answers[process.id] = found
        heard(len(answers))
        if len(answers) < len(processes):
            time.sleep(LOOK)
    silent = f"it has not answered in {patience:g} s: see its log"
    return [answers.get(p.id) or Answer(p, False, silent) for p in processes]


def _answer(process: Process, now: Process | None, asked: int) -> Answer | None:
    if now is None:
        return Answer(process, True, "it has ended, or has said nothing for half a minute")
    outcome = Reloaded.of(now)
    if outcome is None or outcome.asked < asked:
        return None
    return Answer(now, outcome.ok, outcome.said if outcome.ok else f"refused: {outcome.said}")


def _wake(process: Process) -> None:
    """A process of this machine hears of it at once; another one at its next sign of life."""
    if process.host == socket.gethostname() and takes_hangup(process.pid):
        with suppress(OSError):
            os.kill(process.pid, signal.SIGHUP)
