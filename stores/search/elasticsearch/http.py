"""Requests to the cluster by Elasticsearch's own client: one way in, bytes where bytes matter, and
every failure translated once."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import elastic_transport
import elasticsearch
import orjson
from elasticsearch import ApiError, AsyncElasticsearch
from elasticsearch.serializer import JsonSerializer

from stores.search.elasticsearch.errors import (
    kind_of_error,
    refused,
    translate,
    unavailable,
)
from stores.search.elasticsearch.url import Address

CONNECTIONS = 16
OLDEST = (8, 19)
Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any


class _Orjson(JsonSerializer):
    def loads(self, data: bytes) -> Any:
        return orjson.loads(data)

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else orjson.dumps(data)


def path(*parts: str) -> str:
    return "/" + "/".join(quote(p, safe=",_-*") for p in parts)


class Http:
    """The HTTP client of one cluster. It belongs to the event loop that created it."""

    def __init__(self, address: Address) -> None:
        self.node = address.node
        options: dict[str, Any] = {}
        if address.api_key:
            options["api_key"] = address.api_key
        elif address.user:
            options["basic_auth"] = (address.user, address.password)
        serializer = _Orjson()
        try:
            if address.node.startswith("https:"):
                # The client's own context checks no name of a host that is an IP address, and
                # trusts the system's authorities beside the one that is named.
                options["ssl_context"] = ssl.create_default_context(cafile=address.ca or None)
            self._client = AsyncElasticsearch(
                [address.node],
                serializers={
                    "application/json": serializer,
                    "application/vnd.elasticsearch+json": serializer,
                },
                max_retries=0,  # the writer's loop and the gateway's breaker decide about retries
                retry_on_timeout=False,
                request_timeout=address.timeout,
                connections_per_node=CONNECTIONS,
                **options,
            )
        except (ValueError, OSError) as error:
            raise refused(
                f"{self.node}: the client cannot be created: {type(error).__name__}",
                hint="check the file of the certificate authority",
            ) from None

    async def close(self) -> None:
        await self._client.close()

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Params | None = None,
        seconds: float | None = None,
        allow: Collection[int] = (),
        content_type: str = "application/json",
    ) -> Answer:
        """The answer of a success, or with a status of `allow`. Raises StoreError."""
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = content_type
        client = self._client if seconds is None else self._client.options(request_timeout=seconds)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", elasticsearch.ElasticsearchWarning)
                answer = await client.perform_request(
                    method, path, params=params, headers=headers, body=body
                )
        except elasticsearch.UnsupportedProductError:
            raise refused(f"{self.node} is not Elasticsearch") from None
        except ApiError as error:
            status = error.meta.status
            if status in allow:
                return Answer(status, error.body)
            raise translate(
                status,
                kind_of_error(error.body),
                self.node,
                _retry_after(error.meta.headers.get("retry-after")),
            ) from None
        except elastic_transport.ConnectionTimeout:
            raise unavailable(f"{self.node} does not answer in time") from None
        except elastic_transport.TlsError:
            raise unavailable(
                f"{self.node}: the TLS certificate is not accepted: unknown issuer, expired,"
                " or another host's",
                hint="name the certificate authority's file by ?ca=FILE",
            ) from None
        except elastic_transport.TransportError as error:
            raise unavailable(
                f"{self.node} is not reached ({type(error).__name__})",
                hint="check that the server runs and that the URL of `search` is right",
            ) from None
        return Answer(answer.meta.status, answer.body)

    async def server_version(self, seconds: float) -> str:
        """Raises StoreRefused for a server that is too old for us or for the installed client."""
        answer = await self.send("GET", "/", seconds=seconds)
        try:
            text = str(answer.body["version"]["number"])
            major, minor = (int(p) for p in text.split(".")[:2])
        except (KeyError, TypeError, ValueError):
            raise refused(f"{self.node} is not Elasticsearch") from None
        if (major, minor) < OLDEST:
            raise refused(
                f"{self.node} is Elasticsearch {text}, which is too old",
                hint="8.19 or newer is needed",
            )
        return text


def _retry_after(text: str | None) -> float | None:
    try:
        return min(float(text), 60.0) if text else None
    except ValueError:
        return None
