"""What a page of the documentation shows, done as it stands there: files that it tells to save,
lines that it tells to add, commands that it tells to run.

A block ```` ```yaml file=shop.yaml ```` is a file, or the file's next part where the page shows it
in several. With `above=WORD` or `below=WORD` it is put into a file that is there, beside the line
that begins with WORD. A `console` block holds commands after `$ `; `   # exit 3` says how a command
ends, `   # background` that it goes on.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(
    r"^```(\w+)((?: \w+=(?:\"[^\"\n]*\"|\S+))*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    options: dict[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """`expected`: its exit code, None for one that goes on in the background."""

    text: str
    expected: int | None


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page in order."""
    return [
        Block(language, dict(option.split("=", 1) for option in shlex.split(options)), text)
        for language, options, text in _BLOCK.findall(page)
    ]


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a `console` block."""
    for line in block.text.splitlines():
        if line.startswith("$ "):
            command, _, note = line.removeprefix("$ ").partition("   # ")
            code = int(note.removeprefix("exit ")) if note.startswith("exit ") else 0
            yield Command(command, None if note == "background" else code)


@dataclass(slots=True)
class Reader:
    """Somebody who does what pages say, in a folder. `close` ends what they have left running."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def save(self, block: Block) -> None:
        """Write the file of a block, or put its lines into one."""
        name = block.options["file"]
        path = self.folder / name
        beside = block.options.get("above") or block.options.get("below")
        if beside is not None:
            lines = path.read_text("utf-8").splitlines(keepends=True)
            (at,) = [i for i, line in enumerate(lines) if line.startswith(beside)]
            lines.insert(at + ("below" in block.options), block.text)
            path.write_text("".join(lines), "utf-8")
            return
        before = ""
        if name in self.written:
            # As Python has it: two lines before what is not indented.
            before = path.read_text("utf-8") + ("\n" if block.text.startswith(" ") else "\n\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(before + block.text, "utf-8")
        self.written.add(name)

    def run(self, command: Command, *, timeout: float = 60) -> str:
        """Run a command and return its output. Fails where its exit code is another."""
        python = Path(sys.executable).parent
        path = f"{python}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **self.environment}
        if command.expected is None:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command.text}"],
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )
            self.running.append(process)
            return ""
        done = subprocess.run(
            ["bash", "-c", command.text],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == command.expected, f"{command.text}: {done.stdout} {done.stderr}"
        return done.stdout

    def follow(self, page: str) -> Iterator[tuple[Command, str]]:
        """Do what a page says, and yield each command with its output once it was run."""
        for block in blocks(page):
            if "file" in block.options:
                self.save(block)
            elif block.language == "console":
                for command in commands(block):
                    yield command, self.run(command)

    def close(self) -> None:
        for process in self.running:
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(30) == 0


def wait_until_loaded(url: str) -> None:
    """Wait, as a reader who switches terminals does, until every store of the gateway at `url` is
    loaded."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=2) as response:
                if json.load(response)["status"] == "ready":
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("the gateway was not ready within 60 s")
