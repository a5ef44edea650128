"""The manifest of a backup: what it holds, of which version, and the digest of each file."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from stores.errors import InputError

NAME = "manifest.json"
DUMP = "canonical.dump"
FORMAT = 1
"""The form of a backup's folder. A later one is refused."""
_LARGEST = 10_000_000


class Part(msgspec.Struct, frozen=True):
    """The digest and the size of one file."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True):
    """`revision`: of recordgate's own tables. `contract`: its id, version after a slash. `files`:
    path inside the folder → part."""

    format: int
    recordgate: str
    revision: str
    contract: str
    created: str
    postgres: int
    files: dict[str, Part]


@dataclass(frozen=True, slots=True)
class Backup:
    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        return self.folder / name


def digest_of(path: Path) -> Part:
    """Return the part of a file; a link is not followed. Raises OSError."""
    found = hashlib.sha256()
    size = 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
            size += len(block)
    return Part(found.hexdigest(), size)


def read_backup(folder: Path) -> Backup:
    """Return a backup that is whole.

    Raises InputError where the folder is none, is of a later form, or a file of it is missing or
    is not what was written.
    """
    try:
        with (folder / NAME).open("rb") as file:
            raw = file.read(_LARGEST)
        manifest = msgspec.json.decode(raw, type=Manifest)
    except OSError as error:
        raise InputError(
            f"{folder} is no backup: {NAME} cannot be read ({error.strerror})",
            hint="name the folder that `recordgate backup` has made",
        ) from None
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        raise InputError(f"{folder} is no backup: {NAME} is none of recordgate's") from None
    if manifest.format > FORMAT:
        raise InputError(
            f"{folder} has the form {manifest.format} of backups, of recordgate"
            f" {manifest.recordgate}",
            hint="restore it with that version, or a newer one",
        )
    if DUMP not in manifest.files:
        raise InputError(f"{folder} is no backup: it has no {DUMP}")
    for name, part in manifest.files.items():
        if not is_inside(name):
            raise InputError(f"{folder} is no backup: it names a file outside: {name!r}")
        try:
            found = digest_of(folder / name)
        except OSError as error:
            raise InputError(f"{folder / name} cannot be read: {error.strerror}") from None
        if found != part:
            raise InputError(
                f"{folder / name} is not what was backed up: its digest differs",
                hint="take another copy of the backup",
            )
    return Backup(folder, manifest)


def is_inside(name: str) -> bool:
    """Return whether a name of a manifest stays in the folder of its backup."""
    path = PurePosixPath(name)
    return bool(re.fullmatch(r"[^\x00-\x1f\\]+", name)) and not (
        path.is_absolute() or ".." in path.parts or not path.parts
    )
