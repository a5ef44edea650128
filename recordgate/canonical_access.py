"""Opens canonical as the settings name it: the embedded server, or a URL with its password from a
file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from recordgate.settings import Settings
from stores.errors import SetupError

EMBEDDED = "embedded:"


@dataclass(frozen=True, slots=True)
class CanonicalAccess:
    """`url` may carry a password: it is for drivers only, never for a log or an answer. Call
    `release`, or leave the `with` block, when done: an embedded server runs only while somebody
    holds it."""

    url: str
    release: Callable[[], None]
    embedded: bool = False

    def __enter__(self) -> CanonicalAccess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def open_canonical(settings: Settings) -> CanonicalAccess:
    """Canonical, running where it is ours to run. A server of somebody else's is not contacted
    here. Raises SetupError."""
    named = settings.postgres.get_secret_value().strip()
    if named.startswith(EMBEDDED):
        from recordgate.embedded import EmbeddedPostgres  # needs flock, which not every system has

        server = EmbeddedPostgres(settings.data_dir, _listening(named.removeprefix(EMBEDDED)))
        return CanonicalAccess(server.start(), server.release, embedded=True)
    if not named.startswith(("postgresql://", "postgres://")):
        raise SetupError(
            "the setting `postgres` is neither `embedded:` nor a URL",
            hint="write it as postgresql://user@host:5432/database",
        )
    return CanonicalAccess(_with_password(named, settings), _nothing)


def _listening(rest: str) -> dict[str, str]:
    """`?port=N`: the embedded server listens on the loopback address, too; for Debezium, or a
    tool."""
    if not rest:
        return {}
    named = parse_qs(rest.removeprefix("?"))
    port = named.get("port", [""])[0]
    if not rest.startswith("?") or set(named) != {"port"} or not port.isdecimal():
        raise SetupError(
            "the setting `postgres` has an unknown option after `embedded:`",
            hint="write `embedded:`, or `embedded:?port=5432` to listen on 127.0.0.1 as well",
        )
    return {"listen_addresses": "127.0.0.1", "port": port}


def _with_password(url: str, settings: Settings) -> str:
    """`url` with the password of the file, where one is named. PGPASSWORD and ~/.pgpass are
    libpq's."""
    file = settings.postgres_password_file
    if file is None:
        return url
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SetupError(f"postgres_password_file {file} cannot be read: {reason}") from None
    if not lines or not lines[0]:
        raise SetupError(f"postgres_password_file {file} is empty")
    parts = urlsplit(url)
    query = [p for p in parts.query.split("&") if p and not p.startswith("password=")]
    query.append(f"password={quote(lines[0], safe='')}")
    return urlunsplit(parts._replace(query="&".join(query)))


def _nothing() -> None:
    """A server that is not ours is not let go."""
