"""What is fetched of Python packages that are not the project's own, once for each state of its
requirements and kept where servers are: a virtual environment for a tool, or the files of a source
distribution."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compose.local.fetch import servers_dir
from compose.local.process import ServerProblem


def environment(requirements: Path) -> Path:
    """The folder of the environment's commands. `requirements` has a hash for each package. Raises
    ServerProblem where it cannot be installed."""
    with _once(requirements) as (target, there):
        if not there:
            _run(sys.executable, "-m", "venv", str(target))
            python = str(target / "bin" / "python")
            _run(python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(requirements))
    return target / "bin"


def source_files(requirements: Path) -> Path:
    """Return the folder in which the one source distribution that is named is unpacked, without
    what it depends on. Raises ServerProblem where it cannot be had."""
    with _once(requirements) as (target, there):
        if not there:
            pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=:all:")
            _run(*pip, "--require-hashes", "-r", str(requirements), "-d", str(target))
            for archive in target.glob("*.tar.gz"):
                with tarfile.open(archive) as opened:
                    opened.extractall(target, filter="data")
                archive.unlink()
    return next(path for path in target.iterdir() if path.is_dir())


@contextmanager
def _once(requirements: Path) -> Iterator[tuple[Path, bool]]:
    """Give the folder of these requirements, and whether it is made already; one process at a
    time."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    target = servers_dir() / f"{requirements.stem}-{digest}"
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = (target / ".ready").exists()
        yield target, there
        if not there:
            (target / ".ready").touch()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerProblem(f"{' '.join(command[1:4])} failed: {done.stderr[-300:].strip()}")
