"""The secrets that sign tokens and mask values: from the files that the settings name; that of
tokens is made once in data_dir where none is named."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from recordgate.settings import Settings
from stores import private_files
from stores.errors import SetupError

SHORTEST = 16
"""Bytes."""


def token_secret(settings: Settings) -> bytes:
    """Return a secret of at least SHORTEST bytes. Two processes that start together get the same
    one. Raise SetupError."""
    path = settings.token_secret_file
    if path is None:
        path = settings.data_dir / "token.secret"
        _make(path)
    return _secret("token_secret_file", path)


def mask_secret(settings: Settings) -> bytes:
    """Return the secret of the mask `hash`, empty if the tokens' secret serves. Raise
    SetupError."""
    path = settings.mask_secret_file
    return b"" if path is None else _secret("mask_secret_file", path)


def _secret(name: str, path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SetupError(f"{name} {path} cannot be read: {error.strerror}") from None
    if len(secret) < SHORTEST:
        raise SetupError(
            f"{name} {path} holds fewer than {SHORTEST} bytes",
            hint="fill it with random text, the same for every gateway",
        )
    return secret


def _make(path: Path) -> None:
    """Create the file whole or not at all, readable by its owner only."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        private_files.make_folder(path.parent)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails where another process was faster
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    except OSError as error:
        raise SetupError(f"{path} cannot be created: {error.strerror}") from None
