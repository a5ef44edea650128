"""Kafka Connect's REST interface: the few calls that we make, and what its answers mean.

Synchronous; a connector's own configuration holds a password, so no answer is ever shown whole.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from stores.errors import SetupError, StoreUnavailable

STORE = "kafka connect"
TIMEOUT = 10.0
PATIENCE = 30.0
"""Seconds that an answer 409 (Connect is rebalancing) is waited out, and that a change of state may
take."""


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """`state`: as Connect says it, RUNNING, FAILED…, or MISSING; FAILED too where its task is.
    `trace`: the first line of the failure."""

    state: str
    trace: str = ""


class ConnectApi:
    """A connector of a Kafka Connect cluster. Every call may raise StoreUnavailable and
    SetupError."""

    def __init__(self, url: str, connector: str) -> None:
        self.connector = connector
        self._url = url.rstrip("/")
        self._path = f"/connectors/{quote(connector, safe='')}"

    def version(self) -> str:
        """Kafka Connect's own."""
        return str(self._call("GET", "/")[1].get("version", "of unknown version"))

    def plugin(self, name: str) -> str | None:
        """Return the version of an installed connector class, or None."""
        _, found = self._call("GET", "/connector-plugins")
        return next((str(p.get("version")) for p in found if p.get("class") == name), None)

    def status(self) -> ConnectorStatus:
        code, body = self._call("GET", f"{self._path}/status")
        if code == 404:
            return ConnectorStatus("MISSING")
        parts = [body.get("connector", {}), *body.get("tasks", ())]
        for part in parts:
            if part.get("state") == "FAILED":
                return ConnectorStatus("FAILED", failure(str(part.get("trace", ""))))
        if len(parts) == 1 and parts[0].get("state") == "RUNNING":
            return ConnectorStatus("UNASSIGNED")  # its task has not been made yet
        states = [str(part.get("state", "UNASSIGNED")) for part in parts]
        return ConnectorStatus(next((s for s in states if s != "RUNNING"), "RUNNING"))

    def config(self) -> dict[str, str] | None:
        """Return the connector's configuration, or None if there is no such connector."""
        code, body = self._call("GET", f"{self._path}/config")
        return None if code == 404 else dict(body)

    def put_config(self, config: Mapping[str, str]) -> None:
        self._call("PUT", f"{self._path}/config", config)

    def restart(self, *, everything: bool = False) -> None:
        """Start what has failed again, or all of it."""
        failed = "false" if everything else "true"
        self._call("POST", f"{self._path}/restart?includeTasks=true&onlyFailed={failed}")

    def forget_offsets(self) -> None:
        """Make the connector forget where it was. It is stopped for that, and goes on
        afterwards."""
        self._call("PUT", f"{self._path}/stop")
        deadline = time.monotonic() + PATIENCE
        while self.status().state != "STOPPED":
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"connector {self.connector} did not stop in time",
                    store=STORE,
                    hint="see its status in Kafka Connect",
                )
            time.sleep(0.1)
        self._call("DELETE", f"{self._path}/offsets")

    def resume(self) -> None:
        self._call("PUT", f"{self._path}/resume")

    def delete(self) -> None:
        self._call("DELETE", self._path)

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Any]:
        deadline = time.monotonic() + PATIENCE
        while True:
            code, answer = self._once(method, path, body)
            if code < 300 or code == 404:
                return code, answer
            said = str(answer.get("message", "")).splitlines() if isinstance(answer, dict) else []
            # It says that it rebalances by 409, and by 500 where that comes in the middle.
            passes = code in (409, 503) or (code == 500 and "rebalance" in " ".join(said))
            if not passes or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        reason = said[0][:300] if said else "no reason given"
        if code in (400, 401, 403, 422):
            raise SetupError(
                f"Kafka Connect refuses connector {self.connector} ({code}): {reason}",
                hint="see docs/howto/debezium.md",
            )
        raise StoreUnavailable(
            f"Kafka Connect answers {code} for connector {self.connector}: {reason}",
            store=STORE,
            hint="see the log of Kafka Connect",
        )

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data, {"content-type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                return response.status, _read(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _read(error.read())
        except (OSError, ValueError):
            raise StoreUnavailable(
                "Kafka Connect is not reachable",
                store=STORE,
                hint="check that Kafka Connect runs at the address of connect=",
            ) from None


def failure(trace: str) -> str:
    """Return the last cause in a stack trace, without classes and places."""
    lines = trace.splitlines()
    causes = [line for line in lines if line.startswith("Caused by: ")] or lines[:1]
    if not causes:
        return "no reason given"
    cause = causes[-1].removeprefix("Caused by: ")
    _, separator, message = cause.partition(": ")
    # What stands in brackets is the inside of the connector's objects.
    return re.sub(r" ?\[.*\]", "", message if separator else cause)[:500]


def _read(data: bytes) -> Any:
    """Return an object or a list; anything else becomes an empty object."""
    try:
        found = json.loads(data) if data else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict | list) else {}
