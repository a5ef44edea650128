"""Reads an `elasticsearch:` URL: the cluster's address, the login, and how indexes are named and
kept.

    elasticsearch://[user:password@]host[:port][/prefix][?option=…]
    elasticsearch+https://… for TLS

| option          |                                                                                |
| ca              | file with the certificate authority's certificates; without: the system's      |
| api_key_file    | file whose first line is an API key                                            |
| api_key_env     | environment variable that holds an API key                                     |
| password_file   | file whose first line is the password of `user`                                |
| shards          | primary shards of a new index (1)                                              |
| replicas        | its replicas: a number, or a range that follows the nodes there are (0-1)      |
| timeout         | seconds a search may take (15); a bulk or a refresh four times as many         |
| tombstone_days  | days that a delete's version is remembered (7)                                 |
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from stores.errors import SetupError

DEFAULT_PREFIX = "recordgate"
_OPTIONS = frozenset(
    {
        "ca",
        "api_key_file",
        "api_key_env",
        "password_file",
        "shards",
        "replicas",
        "timeout",
        "tombstone_days",
    }
)


@dataclass(frozen=True, slots=True)
class Address:
    """`node` is a URL without credentials, fit to be shown."""

    node: str
    prefix: str
    user: str = ""
    password: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    ca: str = ""
    shards: int = 1
    replicas: str = "0-1"
    timeout: float = 15.0
    tombstone_seconds: float = 7 * 86400.0

    @property
    def write_timeout(self) -> float:
        """Seconds that a bulk or a refresh may take."""
        return 4 * self.timeout


def parse(url: str) -> Address:
    """Raises SetupError, which shows nothing of the URL's credentials."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _wrong("the URL is malformed") from None
    if not host:
        raise _wrong("the URL names no host")
    if parts.fragment:
        raise _wrong("the URL has a fragment")
    secure = parts.scheme.endswith("+https")
    options = _options(parts.query)
    prefix = parts.path.strip("/") or DEFAULT_PREFIX
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,39}", prefix):
        raise _wrong(
            "the prefix of the indexes must be lower case letters, digits and _, at most 40"
        )
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if "password_file" in options:
        password = _first_line(options["password_file"])
    api_key = ""
    if "api_key_file" in options:
        api_key = _first_line(options["api_key_file"])
    elif "api_key_env" in options:
        api_key = os.environ.get(options["api_key_env"], "")
        if not api_key:
            raise _wrong("the environment variable that api_key_env names is not set")
    if api_key and user:
        raise _wrong("the URL has both a user and an API key")
    ca = options.get("ca", "")
    if ca and not secure:
        raise _wrong("`ca` requires TLS", "write elasticsearch+https://")
    if ca and not Path(ca).is_file():
        raise _wrong("the file named by `ca` does not exist")
    shown = f"[{host}]" if ":" in host else host
    return Address(
        node=f"{'https' if secure else 'http'}://{shown}:{port or 9200}",
        prefix=prefix,
        user=user,
        password=password,
        api_key=api_key,
        ca=ca,
        shards=int(_number(options, "shards", 1, 1, 1024)),
        replicas=_replicas(options.get("replicas", "0-1")),
        timeout=_number(options, "timeout", 15, 0.1, 600),
        tombstone_seconds=_number(options, "tombstone_days", 7, 1, 3650) * 86400,
    )


def _wrong(message: str, hint: str = "") -> SetupError:
    return SetupError(
        f"elasticsearch: {message}", hint=hint or "as in elasticsearch://host:9200/prefix"
    )


def _options(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise _wrong("the URL has an unknown option", "one of " + ", ".join(sorted(_OPTIONS)))
        if name in found:
            raise _wrong(f"the URL has the option {name} twice")
        found[name] = value
    return found


def _first_line(path: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise _wrong("a secret file named by the URL cannot be read") from None
    if not lines or not lines[0].strip():
        raise _wrong("a secret file named by the URL is empty")
    return lines[0].strip()


def _number(options: dict[str, str], name: str, default: float, low: float, high: float) -> float:
    if name not in options:
        return default
    try:
        found = float(options[name])
    except ValueError:
        found = float("nan")
    if not low <= found <= high:
        raise _wrong(f"{name} must be a number from {low:g} to {high:g}")
    return found


def _replicas(text: str) -> str:
    if not re.fullmatch(r"\d{1,2}|\d{1,2}-(\d{1,2}|all)", text):
        raise _wrong("replicas must be a number, or a range as in 0-1")
    return text
