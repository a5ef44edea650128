"""The demo's GraphQL: a small client and the queries that are shown to paste."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from stores.errors import StoreUnavailable

PARIS = 2988507

SAMPLES = {
    "by key, with its country (documents)": (
        "{ city(id: 2988507) { name population country { name currency } } }"
    ),
    "full text, the typo forgiven (search)": (
        '{ searchCities(query: "pariz", facets: [countryCode], first: 3) '
        "{ edges { score node { name countryCode population } highlights { field fragments } } "
        "facets { field buckets { value count } } } }"
    ),
    "an ordering only SQL can do (canonical)": (
        "{ cities(filter: {population: {gte: 1000000}}, orderBy: [{country: {areaKm2: DESC}}, "
        "{latitude: ASC}], first: 3) { totalCount edges { node { name country { name } } } } }"
    ),
    "a change, with the token of the write": (
        "mutation { updateCity(id: 2988507, input: {population: 2200000}) "
        "{ city { name population } token } }"
    ),
}


@dataclass(frozen=True)
class Answer:
    data: Any
    errors: list[dict[str, Any]]
    extensions: dict[str, Any]

    def store(self, path: str) -> str:
        """Return the name of the store that answered the root field at `path`."""
        return str(self.extensions["recordgate"]["fields"][path]["store"])

    def field(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self.extensions["recordgate"]["fields"][path]
        return found


class Client:
    """Sends GraphQL to the gateway at `url`."""

    def __init__(self, url: str, timeout: float = 30) -> None:
        self.url, self.timeout = url.rstrip("/"), timeout

    def query(
        self,
        text: str,
        variables: dict[str, Any] | None = None,
        *,
        token: str | None = None,
        wait: str = "15s",
    ) -> Answer:
        """Send a request. With `token`, it waits until the store has applied that write."""
        headers = {"content-type": "application/json", "accept": "application/json"}
        if token:
            headers |= {"Recordgate-Token": token, "Recordgate-Wait-Up-To": wait}
        body = json.dumps({"query": text, "variables": variables or {}}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, headers)
        got = self._send(request)
        return Answer(got.get("data"), got.get("errors") or [], got.get("extensions") or {})

    def get(self, path: str) -> Any:
        return self._send(urllib.request.Request(f"{self.url}{path}"))

    def _send(self, request: urllib.request.Request) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            body = error.read()
            try:
                return json.loads(body)
            except ValueError:
                raise StoreUnavailable(f"HTTP {error.code}", store="gateway") from None
        except OSError as error:
            raise StoreUnavailable(str(error), store="gateway") from None
