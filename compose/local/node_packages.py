"""Installs a folder's npm packages, once for each state of its lock file, where servers are kept
too."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from compose.local.fetch import servers_dir
from compose.local.process import ServerProblem

NODE = 18
"""The oldest Node that has `fetch`."""


def installed(source: Path) -> Path:
    """A folder with what is in `source` and its `node_modules`. Raises ServerProblem without Node
    or npm, or where npm fails."""
    _require_node()
    lock_file = (source / "package-lock.json").read_bytes()
    target = servers_dir() / f"{source.name}-{hashlib.sha256(lock_file).hexdigest()[:12]}"
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for file in source.iterdir():
            if file.is_file():
                shutil.copyfile(file, target / file.name)
        if not (target / ".ready").exists():
            _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=target)
            (target / ".ready").touch()
    return target


def _require_node() -> None:
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            raise ServerProblem(f"Node.js (`{command}`) is not installed")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)", said.stdout)
    if version is None or int(version[1]) < NODE:
        raise ServerProblem(f"Node.js is older than {NODE}: {said.stdout.strip()}")


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerProblem(f"{' '.join(command[:2])} failed: {done.stderr[-300:].strip()}")
