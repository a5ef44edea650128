"""The demo's own `recordgate` processes: started with one settings file, stopped or killed by their
id."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stores.errors import SetupError


@dataclass(frozen=True)
class Result:
    """The outcome of a command that ended: its exit code, its `--json` output where it was asked,
    stderr."""

    code: int
    output: Any
    stderr: str


class Commands:
    """Runs `recordgate --config FILE …` as processes of their own."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.running: list[subprocess.Popen[bytes]] = []

    def _argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "recordgate", "--config", str(self.config), *arguments]

    def run(self, *arguments: str, expect: tuple[int, ...] = (0,), timeout: float = 600) -> Result:
        """Run a command with `--json` to its end. An exit code not in `expect` is a SetupError that
        carries the command's own last words."""
        done = subprocess.run(
            self._argv(*arguments, "--json"), capture_output=True, timeout=timeout, check=False
        )
        stderr = done.stderr.decode(errors="replace")
        output = orjson.loads(done.stdout) if done.stdout.strip() else None
        if done.returncode not in expect:
            last = "; ".join(stderr.strip().splitlines()[-3:]) or "no reason given"
            raise SetupError(
                f"`recordgate {' '.join(arguments)}` ended with {done.returncode}: {last}"
            )
        return Result(done.returncode, output, stderr)

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command that stays; its stderr goes to `log`."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                self._argv(*arguments), stdout=subprocess.PIPE, stderr=out, start_new_session=True
            )
        self.running.append(process)
        return process

    def start_gateway(self, *arguments: str, log: Path, timeout: float = 60) -> tuple[Any, str]:
        """Start `up` or `serve` and wait for the line with its URL."""
        process = self.start(*arguments, log=log)
        assert process.stdout is not None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            ready, _, _ = select.select([process.stdout], [], [], 0.2)
            if ready:
                line = process.stdout.readline().decode().strip()
                if line.startswith("listening on "):
                    return process, line.removeprefix("listening on ")
            if process.poll() is not None:
                break
        self.stop(process)
        tail = "; ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
        raise SetupError(f"`recordgate {' '.join(arguments)}` did not start: {tail}")

    def stop(self, process: subprocess.Popen[bytes], timeout: float = 20) -> int:
        """End a process as an operator would; kill it when it does not listen."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
        code = process.wait()
        if process.stdout:
            process.stdout.close()
        if process in self.running:
            self.running.remove(process)
        return code

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL, as the machine's out-of-memory killer would."""
        os.kill(process.pid, signal.SIGKILL)
        self.stop(process)

    def stop_all(self) -> None:
        for process in list(self.running):
            self.stop(process)
