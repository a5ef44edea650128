"""Restores a backup: canonical in one transaction, and the secrets that are not there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from recordgate.backups.manifest import DUMP, Backup
from recordgate.backups.programs import find_programs, reaching, why
from recordgate.backups.swapping import replacement
from recordgate.backups.taking import secret_files
from recordgate.migrations.run import HEAD, migrate
from recordgate.presence import is_gone
from recordgate.settings import Settings
from stores import private_files
from stores.canonical.connect import Connection, connect
from stores.canonical.processes import alive
from stores.errors import ConflictError, InputError, SetupError, StoreError

Told = Callable[[int], None]
"""Takes the bytes of SQL that were sent so far."""

_TABLES = """
SELECT n.nspname || '.' || c.relname
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""
_BEFORE = b"""
BEGIN;
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS recordgate;
"""
# A watermark of a database that is none makes the next worker load every type anew: the stores may
# hold what canonical had after the backup.
_AFTER = b"""
UPDATE recordgate.watermarks SET system = 'restored from a backup';
COMMIT;
"""


@dataclass(slots=True)
class Restored:
    """`secrets`: files that were written; `kept`: those that were there, and stayed."""

    migrated: bool = False
    secrets: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def restore(
    settings: Settings, backup: Backup, url: str, *, replace: bool, told: Told = lambda _: None
) -> Restored:
    """Make the database at `url` what it was. A restore that fails or is killed leaves it as it is.

    Raises InputError for a backup of a newer recordgate, ConflictError where the database has
    tables and `replace` is not given or somebody uses it, StoreError where Postgres refuses,
    SetupError where a database cannot be made or a secret cannot be written.
    """
    if backup.manifest.revision > HEAD:
        raise InputError(
            f"the backup is of a newer recordgate ({backup.manifest.recordgate}, tables"
            f" {backup.manifest.revision}; this one knows {HEAD})",
            hint="restore it with that version, or a newer one",
        )
    with connect(url) as conn:
        is_empty = _refuse(conn, replace=replace)
        major = conn.info.server_version // 10000
    programs = find_programs(max(major, backup.manifest.postgres))
    found = Restored()
    with nullcontext(url) if is_empty else replacement(url) as target:
        _load(programs, backup, target, told)
        found.migrated = migrate(target)
    _write_secrets(settings, backup, found)
    return found


def _refuse(conn: Connection, *, replace: bool) -> bool:
    """Return whether the database is empty. Raises ConflictError where it may not be replaced."""
    tables = [str(row[0]) for row in conn.execute(_TABLES.encode()).fetchall()]
    if tables and not replace:
        raise ConflictError(
            f"the database has {len(tables)} tables: {', '.join(tables[:5])}"
            + (", …" if len(tables) > 5 else ""),
            hint="restore into an empty database, or give --replace to lose what is there",
        )
    running = [p.name for p in alive(conn) if not is_gone(p)]
    if running:
        raise ConflictError(
            f"processes of recordgate run on the database: {', '.join(running)}",
            hint="stop them, restore, and start them again",
        )
    return not tables


def _load(programs: Path, backup: Backup, url: str, told: Told) -> None:
    """Stream the dump as SQL into one transaction. It is committed by the last words only: where
    this process, or what writes the SQL, ends before, the server rolls back."""
    # Files, not pipes: neither program can stop because nobody reads its complaints.
    with reaching(url) as environment, TemporaryFile() as unread, TemporaryFile() as refused:
        writer = subprocess.Popen(
            [
                programs / "pg_restore",
                *("--no-owner", "--no-acl", "--file=-"),
                backup.path(DUMP),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=unread,
            env=environment,
        )
        loader = subprocess.Popen(
            [programs / "psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=refused,
            env=environment,
        )
        assert writer.stdout is not None
        assert loader.stdin is not None
        try:
            loader.stdin.write(_BEFORE)
            _pump(writer.stdout, loader.stdin, told)
            if writer.wait():
                raise StoreError(
                    f"the backup cannot be read: {why(_told(unread))}", store="canonical"
                )
            loader.stdin.write(_AFTER)
            loader.stdin.close()
            loader.wait()
        except BrokenPipeError:
            loader.wait()  # it has ended, and says why
        finally:
            for process in (writer, loader):
                process.kill()
                process.wait()
            writer.stdout.close()
            with suppress(BrokenPipeError):
                loader.stdin.close()
        if loader.returncode:
            raise StoreError(
                f"canonical refuses the backup, and is as it was: {why(_told(refused))}",
                store="canonical",
            )


def _told(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(1 << 20).decode("utf-8", "replace")


def _pump(source: IO[bytes], target: IO[bytes], told: Told) -> None:
    sent = 0
    while block := source.read(1 << 16):
        target.write(block)
        sent += len(block)
        told(sent)
    target.flush()


def _write_secrets(settings: Settings, backup: Backup, found: Restored) -> None:
    """Write the secrets that are not there. One that is there stays: a key that was revoked after
    the backup is not to come back."""
    for name, path in secret_files(settings).items():
        if name not in backup.manifest.files:
            continue
        if path.exists():
            found.kept.append(str(path))
            continue
        try:
            private_files.make_folder(path.parent)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(backup.path(name).read_bytes())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise SetupError(f"{path} cannot be written: {error.strerror}") from None
        found.secrets.append(str(path))


def write_settings(backup: Backup, folder: Path) -> list[Path]:
    """Write the settings and the contract of a backup into a new folder. Raises InputError where it
    is there, SetupError where it cannot be written."""
    if folder.exists():
        raise InputError(f"{folder} already exists", hint="name a folder that is not there yet")
    written = []
    try:
        for name in backup.manifest.files:
            if name.startswith(("settings/", "contract/")):
                target = folder / name
                private_files.make_folder(target.parent)
                shutil.copyfile(backup.path(name), target, follow_symlinks=False)
                target.chmod(private_files.FILE)
                written.append(target)
    except OSError as error:
        raise SetupError(f"{folder} cannot be written: {error.strerror}") from None
    return written
