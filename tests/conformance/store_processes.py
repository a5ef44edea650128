"""Start and talk to the other process of store_peer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.conformance.store_backends import Place

ROOT = Path(__file__).parents[2]


def start(place: Place, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.store_peer", what, place.url, str(place.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


class Peer:
    """A reading process."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin, self._stdout = stdin, stdout
        self._answer()

    def _answer(self) -> Any:
        line = self._stdout.readline()
        assert line, "the reading process has died"
        return json.loads(line)

    def ask(self, what: str, **question: Any) -> Any:
        self._stdin.write(json.dumps({"ask": what} | question) + "\n")
        self._stdin.flush()
        return self._answer()


@contextmanager
def reader(place: Place) -> Iterator[Peer]:
    process = start(place, "read")
    assert process.stdin
    assert process.stdout
    try:
        yield Peer(process.stdin, process.stdout)
    finally:
        process.stdin.close()
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
