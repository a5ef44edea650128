"""The URL of the MongoDB document store: what it must hold, what we add to it, and what never
shows.

`mongodb://user@host:27017/database?…` or `mongodb+srv://…` with every option of the driver (TLS,
CA, authentication, replica set) and one of ours: `password_file=PATH`, whose first line is the
password.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from stores.errors import SetupError

PASSWORD_FILE = "password_file"
DEFAULTS: Mapping[str, Any] = {
    "serverSelectionTimeoutMS": 3_000,
    "connectTimeoutMS": 3_000,
    "socketTimeoutMS": 30_000,
    "appname": "recordgate",
}
"""The driver's options where the URL does not set them: a store that hangs is noticed in seconds.
"""
_FORM = "write documents = mongodb://user@host:27017/database"


@dataclass(frozen=True, slots=True)
class Address:
    """`url` is for the driver alone; `where` is for people: hosts and database."""

    url: str = field(repr=False)
    database: str
    where: str
    options: Mapping[str, Any]
    password_file: Path | None = None

    def client_options(self) -> dict[str, Any]:
        """`options`, with the password where a file holds it. Reads the file: raises SetupError."""
        options = dict(self.options)
        if self.password_file is not None:
            try:
                lines = self.password_file.read_text("utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise SetupError(
                    f"documents: the password file {self.password_file} cannot be read",
                    hint="password_file of the URL names a text file that this account may read",
                ) from error
            options["password"] = lines[0] if lines else ""
        return options


def parse(url: str) -> Address:
    """Raises SetupError, whose message holds nothing of the URL's user, password or options."""
    try:
        parts = urlsplit(url)
        database = unquote(parts.path.removeprefix("/"))
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise SetupError("documents: the URL cannot be read", hint=_FORM) from None
    hosts = parts.netloc.rpartition("@")[2]
    if not hosts:
        raise SetupError("documents: the URL names no host", hint=_FORM)
    if not database:
        raise SetupError("documents: the URL names no database", hint=_FORM)
    if len(database.encode()) > 63 or any(c in '/\\. "$*<>:|?\0' for c in database):
        raise SetupError(
            "documents: the URL's database has a name that MongoDB does not allow", hint=_FORM
        )
    if database in ("admin", "local", "config"):
        raise SetupError(
            f"documents: {database} is MongoDB's own database",
            hint="name a database of recordgate's own",
        )
    given = {name.lower() for name, _ in query}
    files = [value for name, value in query if name.lower() == PASSWORD_FILE]
    rest = [(name, value) for name, value in query if name.lower() != PASSWORD_FILE]
    return Address(
        urlunsplit(parts._replace(query=urlencode(rest))) if files else url,
        database,
        f"{hosts}/{database}",
        {name: value for name, value in DEFAULTS.items() if name.lower() not in given},
        Path(files[-1]) if files else None,
    )
