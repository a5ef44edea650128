"""Parses the URL of the setting `changes`: Kafka, Connect and the connector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from stores.errors import SetupError
from sync.sources.debezium.texts import BINARY, DECIMAL, TIME, Modes

FORM = "kafka://host:9092[,host2:9092]/?topic_prefix=P&group=G[&connect=http://host:8083]"
SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
PARAMETERS = frozenset(
    [
        "topic_prefix",
        "group",
        "connect",
        "connector",
        "slot",
        "security",
        "sasl_mechanism",
        "password_file",
        "cafile",
        "certfile",
        "keyfile",
        "decimal",
        "time",
        "binary",
    ]
)


@dataclass(frozen=True, slots=True)
class KafkaLocation:
    """`bootstrap`: host:port of each broker. `connector`, `slot`: empty for the names that we give
    them. `modes`: how values are written; None: asked of Connect, else as in our own
    configuration."""

    bootstrap: tuple[str, ...]
    topic_prefix: str
    group: str
    connect: str = ""
    connector: str = ""
    slot: str = ""
    modes: Modes | None = None
    security: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    user: str = ""
    password: str = ""
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""

    @classmethod
    def parse(cls, url: str) -> KafkaLocation:
        """Raises SetupError, which never shows a value of the URL: it may hold a password."""
        parts = urlsplit(url)
        if parts.scheme != "kafka" or parts.path not in ("", "/") or parts.fragment:
            raise _wrong("it is not a Kafka URL")
        credentials, _, hosts = parts.netloc.rpartition("@")
        bootstrap = tuple(h if ":" in h else f"{h}:9092" for h in hosts.split(",") if h)
        if not bootstrap or not all(h.rpartition(":")[2].isdigit() for h in bootstrap):
            raise _wrong("it names no broker, or a port that is not a number")
        given: dict[str, str] = {}
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name not in PARAMETERS:
                raise _wrong(f"unknown parameter {name!r}; known: {', '.join(sorted(PARAMETERS))}")
            if name in given:
                raise _wrong(f"{name} is given twice")
            given[name] = value
        for name in ("topic_prefix", "group"):
            if not given.get(name):
                raise _wrong(f"{name} is missing")
        user, _, password = credentials.partition(":")
        password = unquote(password)
        file = given.pop("password_file", "")
        if file:
            password = _first_line(file)
        security = given.get("security", "").upper() or ("SASL_SSL" if user else "PLAINTEXT")
        if security not in SECURITY:
            raise _wrong(f"security must be one of {', '.join(SECURITY)}")
        if security.startswith("SASL") and not (user and password):
            raise _wrong("SASL needs a user and a password")
        connect = given.get("connect", "").rstrip("/")
        if connect and urlsplit(connect).scheme not in ("http", "https"):
            raise _wrong("connect must be an http or https URL")
        return cls(
            bootstrap,
            given["topic_prefix"],
            given["group"],
            connect,
            given.get("connector", ""),
            given.get("slot", ""),
            _modes(given),
            security,
            given.get("sasl_mechanism", "PLAIN"),
            unquote(user),
            password,
            given.get("cafile", ""),
            given.get("certfile", ""),
            given.get("keyfile", ""),
        )

    def client_options(self) -> dict[str, Any]:
        """The options of every client of kafka-python."""
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap),
            "client_id": "recordgate",
            "security_protocol": self.security,
        }
        if "SSL" in self.security:
            options |= {
                f"ssl_{name}": value or None
                for name, value in (
                    ("cafile", self.cafile),
                    ("certfile", self.certfile),
                    ("keyfile", self.keyfile),
                )
            }
        if self.security.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return options


def _modes(given: dict[str, str]) -> Modes | None:
    if not given.keys() & {"decimal", "time", "binary"}:
        return None
    chosen = []
    for name, known in (("decimal", DECIMAL), ("time", TIME), ("binary", BINARY)):
        chosen.append(given.get(name, known[0]))
        if chosen[-1] not in known:
            raise _wrong(f"{name} is none of {', '.join(known)}")
    return Modes(*chosen)


def _first_line(file: str) -> str:
    try:
        return Path(file).read_text("utf-8").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError):
        raise _wrong("password_file cannot be read, or is empty") from None


def _wrong(reason: str) -> SetupError:
    return SetupError(f"the setting `changes`: {reason}", hint=f"write it as {FORM}")
