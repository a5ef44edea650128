"""Takes a backup: one consistent snapshot of canonical, the settings, the contract, the secrets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec

from recordgate.access import key_file
from recordgate.backups.manifest import DUMP, FORMAT, NAME, Manifest, digest_of
from recordgate.backups.programs import find_programs, reaching, why
from recordgate.embedded.postmaster import lives
from recordgate.migrations.run import current
from recordgate.settings import Settings
from stores import private_files
from stores.canonical.connect import connect
from stores.contract.model import Contract
from stores.errors import InputError, SetupError, StoreError

Told = Callable[[int], None]
"""Takes the bytes that were written so far."""


def take(
    settings: Settings,
    config: Path | None,
    contract: Contract,
    url: str,
    folder: Path,
    told: Told = lambda _: None,
) -> Manifest:
    """Write a backup of the database at `url` to `folder`, which appears whole or not at all.

    Raises InputError where `folder` is there, SetupError where canonical was never set up or the
    disk cannot be written, StoreError where canonical cannot be dumped.
    """
    folder = folder.absolute()
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{folder} already exists", hint="name a folder that is not there yet")
    with connect(url) as conn:
        revision = current(conn)
        major = conn.info.server_version // 10000
    if revision is None:
        raise SetupError(
            "canonical has no tables of recordgate: there is nothing to back up",
            hint="run `recordgate apply` first",
        )
    programs = find_programs(major)
    draft = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        _remove_abandoned(folder)
        private_files.make_folder(draft)
        _dump(programs, url, draft / DUMP, told)
        for name, source in kept_files(settings, config, contract):
            _copy(source, draft / name)
        files = {
            path.relative_to(draft).as_posix(): digest_of(path)
            for path in sorted(draft.rglob("*"))
            if path.is_file()
        }
        manifest = Manifest(
            FORMAT,
            metadata.version("recordgate"),
            revision,
            f"{contract.id}/{contract.version}",
            datetime.now(UTC).isoformat(timespec="seconds"),
            major,
            files,
        )
        body = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        _write(draft / NAME, body + b"\n")
        _settle(draft)
        os.rename(draft, folder)  # never onto a folder that has something in it
        _settle(folder.parent)
    except OSError as error:
        raise SetupError(
            f"the backup {folder} cannot be written: {error.strerror}",
            hint="make room, or choose another place",
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def kept_files(
    settings: Settings, config: Path | None, contract: Contract
) -> Iterator[tuple[str, Path]]:
    """Yield the files beside canonical, as name in the backup and path."""
    if config is not None and config.is_file():
        yield "settings/recordgate.toml", config
    at = settings.contract
    if at is not None and at.is_dir():
        for path in sorted(at.rglob("*")):
            if path.is_file() and path.suffix in (".yaml", ".yml"):
                yield f"contract/{path.relative_to(at).as_posix()}", path
    elif at is not None:
        yield f"contract/{at.name}", at
    for name, path in secret_files(settings).items():
        if path.is_file():
            yield name, path


def secret_files(settings: Settings) -> dict[str, Path]:
    """Return the files of secrets, name in a backup → where they belong."""
    found = {
        "secrets/token.secret": settings.token_secret_file or settings.data_dir / "token.secret",
        "secrets/api_keys.json": key_file(settings),
    }
    if settings.mask_secret_file is not None:
        found["secrets/mask.secret"] = settings.mask_secret_file
    return found


def _dump(programs: Path, url: str, out: Path, told: Told) -> None:
    """Run pg_dump. What is only true of processes that run now is left out."""
    arguments = ["--format=custom", "--no-owner", "--no-acl", "--no-password", f"--file={out}"]
    arguments += [f"--exclude-table-data=recordgate.{t}" for t in ("processes", "workers")]
    private_files.create(out)
    with reaching(url) as environment:
        process = subprocess.Popen(
            [programs / "pg_dump", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            errors="replace",
        )
        try:
            while True:
                try:
                    _, said = process.communicate(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    told(out.stat().st_size)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise StoreError(f"canonical cannot be dumped: {why(said)}", store="canonical")
    told(out.stat().st_size)


def _copy(source: Path, target: Path) -> None:
    private_files.make_folder(target.parent)
    _write(target, source.read_bytes())


def _write(path: Path, body: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(body)


def _settle(folder: Path) -> None:
    """Make sure that a folder and what is in it outlives a loss of power."""
    for path in (*folder.rglob("*"), folder) if (folder / NAME).exists() else (folder,):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_abandoned(folder: Path) -> None:
    """Remove what backups to the same place have left that were killed."""
    form = re.compile(rf"\.{re.escape(folder.name)}\.partial-(\d+)\Z")
    for path in folder.parent.iterdir() if folder.parent.is_dir() else ():
        found = form.match(path.name)
        if found and not _runs(int(found[1])) and time.time() - path.lstat().st_mtime > 1:
            shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    """Return whether another process has this id."""
    return pid != os.getpid() and lives(pid)
