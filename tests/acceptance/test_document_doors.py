"""Every door that takes a GraphQL document keeps the same rules. The doors are found, not listed:
each path of the route table is asked in each way in which a document can come."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from gateway.app import make_app
from gateway.context.services import Limits
from gateway.graphql.trusted import TrustedDocuments
from gateway.security.access import Access
from gateway.security.authenticate import Anonymous, Authenticator, Rules
from gateway.security.key_file import KeyFile
from tests.acceptance.access_rig import bearer, keys_for, run
from tests.acceptance.gateway_rig import Rig

CANARY = '{ canary: person(id: "1") { name } }'
SEEN = '"canary":{"name":"Ada Quill"}'
WAYS = ("POST", "batch", "GET", "POST stream", "GET stream", "socket")
DEEP = (
    '{ canary: person(id: "1") { name department { people { nodes { department { name } } } } } }'
)
COSTLY = "{ people(first: 500) { totalCount nodes { id } } }"
ALIASED = " ".join(["{ canary: __typename", *(f"a{i}: __typename" for i in range(12)), "}"])
HIDDEN = '{ canary: person(id: "1") { salary } }'
WRITE = 'mutation { canary: deletePerson(id: "1") { id } }'


async def by_socket(app: ASGIApp, path: str, key: str, body: dict[str, Any]) -> str:
    """Return all that a WebSocket at `path` says to one operation."""
    told: list[str] = []
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    over = asyncio.Event()
    for message in ({"type": "connection_init"}, {"type": "subscribe", "id": "1", "payload": body}):
        sent.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})
    sent_all = [{"type": "websocket.connect"}]

    async def receive() -> dict[str, Any]:
        return sent_all.pop() if sent_all else await sent.get()

    async def send(message: Any) -> None:
        told.append(str(message.get("text", message.get("type"))))
        if message["type"] in ("websocket.close", "websocket.http.response.start"):
            over.set()
        elif any(f'"type":"{kind}"' in told[-1] for kind in ("complete", "error")):
            sent.put_nowait({"type": "websocket.disconnect", "code": 1000})
            over.set()

    scope = {
        "type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "scheme": "ws", "server": ("gateway", 80), "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"gateway"), (b"authorization", f"Bearer {key}".encode())],
        "subprotocols": ["graphql-transport-ws"], "state": {}, "asgi": {"version": "3.0"},
    }  # fmt: skip
    task = asyncio.ensure_future(app(scope, receive, send))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await over.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return "\n".join(told)


async def told(rig: Rig, way: str, path: str, key: str, query: str) -> str:
    """Return the answer of one door to `query`."""
    if way == "socket":
        return await by_socket(rig.client._transport.app, path, key, {"query": query})  # type: ignore[attr-defined]
    headers = bearer(key)
    if way.endswith("stream"):
        headers["Accept"] = "text/event-stream"
    if way.startswith("GET"):
        return (await rig.client.get(path, params={"query": query}, headers=headers)).text
    body: Any = [{"query": query}] if way == "batch" else {"query": query}
    return (await rig.client.post(path, json=body, headers=headers)).text


def test_every_door_for_documents_keeps_trust_limits_and_rights(
    database: str, tmp_path: Path
) -> None:
    path, (hr, staff) = keys_for(tmp_path, ("hr",), ("staff",))

    def access(**rules: Any) -> Any:
        given = Rules(anonymous=Anonymous.NO, **rules)
        return lambda contract: Access(Authenticator(contract, given, keys=KeyFile(path)))

    async def go(rig: Rig) -> None:
        def serve(documents: TrustedDocuments | None = None, **rules: Any) -> list[Any]:
            granted = access(**rules)(rig.services.contract)
            app = make_app(rig.services, access=granted, documents=documents)
            rig.client._transport.app = app  # type: ignore[attr-defined]
            return list(app.routes)

        paths = {
            r.path.replace("{type}", "person")
            for r in serve()
            if isinstance(r, Route | WebSocketRoute)
        }
        assert len(paths) > 10
        doors = [
            (way, at)
            for at in sorted(paths)
            for way in WAYS
            if SEEN in await told(rig, way, at, hr, CANARY)
        ]
        assert {d for d in doors if d[1] == "/graphql"} == {
            (way, "/graphql") for way in WAYS if way != "GET stream"
        }
        assert {way for way, at in doors if at == "/graphql/subgraph"} >= {"POST", "batch"}

        for door in doors:
            for query in (DEEP, COSTLY, ALIASED):
                answer = await told(rig, *door, hr, query)
                assert "LIMIT_EXCEEDED" in answer, (door, query, answer)
            assert '"salary":91000' in await told(rig, *door, hr, HIDDEN), door
            answer = await told(rig, *door, staff, HIDDEN)
            assert '"salary":91000' not in answer, (door, answer)
            answer = await told(rig, *door, staff, WRITE)
            assert "FORBIDDEN" in answer or "METHOD_NOT_ALLOWED" in answer, (door, answer)
        assert SEEN in await told(rig, "POST", "/graphql", hr, CANARY)  # nothing was deleted

        serve(introspection=frozenset({"hr"}))
        for door in doors:
            asked = ["{ canary: __schema { queryType { name } } }"]
            asked += ["{ canary: _service { sdl } }"] * door[1].endswith("subgraph")
            for query in asked:
                assert '"canary":{' in await told(rig, *door, hr, query), (door, query)
                answer = await told(rig, *door, staff, query)
                assert "FORBIDDEN" in answer, (door, answer)
                assert '"canary":{' not in answer, (door, answer)

        # By trusted documents only: the doors that stand open for one, and no others.
        serve(TrustedDocuments({"one": CANARY}, only=True))
        for door in doors:
            assert SEEN in await told(rig, *door, hr, CANARY), door
            answer = await told(rig, *door, hr, CANARY.replace("name", "id name"))
            assert "only trusted documents" in answer, (door, answer)
            assert "Ada" not in answer, (door, answer)

    limits = Limits(max_depth=4, max_cost=400, max_aliases=10, max_batch=3)
    run(database, tmp_path, go, access(), limits=limits)
