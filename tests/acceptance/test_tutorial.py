"""The tutorial's files and commands, run as they stand there, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.local.process import free_port

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-product.md"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = {
    'book(id: \\"9780141439471\\") { title year': ('"Mary Shelley"', '"store":"documents"'),
    "searchBooks": ('"Frankenstein"', '"store":"search"'),
    "authors(orderBy": ('"totalCount":2', '"store":"canonical"'),
    "updateAuthor": ('"token":',),
    "Recordgate-Token": ("Mary Wollstonecraft Shelley",),
    "cat bad.csv": ("year", "authorId"),
}
"""Part of a command → what its output must hold."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; whatever the tutorial leaves running is stopped."""
    running: list[subprocess.Popen[bytes]] = []
    folder_processes[tmp_path] = running
    yield tmp_path
    for process in running:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0


folder_processes: dict[Path, list[subprocess.Popen[bytes]]] = {}


def test_the_tutorial_does_what_it_says(folder: Path) -> None:
    port = str(free_port())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    ran: list[str] = []
    for language, name, body in BLOCK.findall(TUTORIAL.read_text("utf-8")):
        text = body.replace("8099", port)
        if name:
            (folder / name).write_text(text, "utf-8")
        elif language == "console":
            for line in text.splitlines():
                command, _, note = line.removeprefix("$ ").partition("   # ")
                ran.append(run(command, note, folder, environment, port))
    assert len(ran) >= 14
    for part in EXPECTED:
        assert any(part in command for command in ran), f"the tutorial does not show {part}"


def run(command: str, note: str, folder: Path, environment: dict[str, str], port: str) -> str:
    if note == "background":
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, start_new_session=True
        )
        folder_processes[folder].append(process)
        wait_until_synced(f"http://localhost:{port}")
        return command
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    expected = int(note.removeprefix("exit ")) if note.startswith("exit ") else 0
    assert done.returncode == expected, f"{command}: {done.stdout} {done.stderr}"
    for part, needles in EXPECTED.items():
        if part in command:
            for needle in needles:
                assert needle in done.stdout, f"{command}: {done.stdout}"
    return command


def wait_until_synced(url: str) -> None:
    """As long as a reader needs to switch terminals."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=2) as response:
                ready = response.status == 200
            with urllib.request.urlopen(f"{url}/search/book?q=frankenstein", timeout=2) as response:
                if ready and b"Frankenstein" in response.read():
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError("the gateway was not ready within 60 s")
