"""A virtual environment for a tool that is not one of the project's own packages, made once for each state of its
requirements, where servers are kept too."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from compose.local.fetch import servers_dir
from compose.local.process import ServerProblem


def environment(requirements: Path) -> Path:
    """The folder of the environment's commands. `requirements` has a hash for each package. Raises ServerProblem
    where it cannot be installed."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    target = servers_dir() / f"{requirements.stem}-{digest}"
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / ".ready").exists():
            _run(sys.executable, "-m", "venv", str(target))
            python = str(target / "bin" / "python")
            _run(python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(requirements))
            (target / ".ready").touch()
    return target / "bin"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerProblem(f"{' '.join(command[1:4])} failed: {done.stderr[-300:].strip()}")
