"""A request whose body is on the way takes no place of those that run, however slowly it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.http.draining import Drain
from gateway.http.guard import ARRIVING, Guard, Recent
from gateway.http.metrics import Metrics
from gateway.http.problems import HttpProblem, problem_response

MOST = 3
PATHS = ("/graphql", "/search/thing")


async def read(request: Request) -> Response:
    body = await request.body()
    if body == b"long":
        await asyncio.sleep(0.2)
    return PlainTextResponse(f"{len(body)}")


async def refused(request: Request, error: Exception) -> Response:
    return problem_response(error, request.state.request_id)


def guarded(seconds: float) -> tuple[httpx.AsyncClient, Drain]:
    drain = Drain()
    app: Any = Starlette(
        routes=[Route(path, read, methods=["GET", "POST"]) for path in PATHS],
        exception_handlers={HttpProblem: refused},
    )
    guard = Guard(app, metrics=Metrics(), recent=Recent(), drain=drain, seconds=seconds, most=MOST)
    transport = httpx.ASGITransport(app=guard)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway"), drain


async def slowly(whole: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"{"
    await whole.wait()
    yield b"}"


@pytest.mark.parametrize("path", PATHS)
def test_bodies_on_the_way_take_no_place_and_are_answered_when_they_are_whole(path: str) -> None:
    async def go() -> None:
        client, drain = guarded(seconds=5)
        whole = asyncio.Event()
        async with client:
            slow = [
                asyncio.ensure_future(client.post(path, content=slowly(whole)))
                for _ in range(MOST * ARRIVING)
            ]
            await asyncio.sleep(0.05)
            assert (drain.running, drain.arriving) == (0, MOST * ARRIVING)
            assert (await client.get(path)).status_code == 200
            beyond = await client.post(path, content=b"x")
            assert (beyond.status_code, beyond.json()["code"]) == (503, "OVERLOADED")
            whole.set()
            answers = await asyncio.gather(*slow)
            assert {a.status_code for a in answers} <= {200, 503}
            assert {a.text for a in answers if a.status_code == 200} == {"2"}
            assert (drain.running, drain.arriving) == (0, 0)

    asyncio.run(go())


@pytest.mark.parametrize("path", PATHS)
def test_whole_bodies_are_bounded_as_what_runs_is(path: str) -> None:
    async def go() -> None:
        client, drain = guarded(seconds=5)
        async with client:
            answers = await asyncio.gather(
                *(client.post(path, content=b"long") for _ in range(MOST + 2))
            )
        assert sorted(a.status_code for a in answers) == [200] * MOST + [503, 503]
        assert (drain.running, drain.arriving) == (0, 0)

    asyncio.run(go())


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_does_not_come_is_not_waited_for(path: str) -> None:
    async def go() -> None:
        client, drain = guarded(seconds=0.2)
        async with client:
            answer = await client.post(path, content=slowly(asyncio.Event()))
        assert (answer.status_code, answer.json()["code"]) == (408, "REQUEST_TIMEOUT")
        assert answer.headers["Connection"] == "close"
        assert (drain.running, drain.arriving) == (0, 0)

    asyncio.run(go())


def test_the_end_waits_for_bodies_on_the_way() -> None:
    async def go() -> None:
        client, drain = guarded(seconds=5)
        whole = asyncio.Event()
        async with client:
            slow = asyncio.ensure_future(client.post("/graphql", content=slowly(whole)))
            await asyncio.sleep(0.05)
            ended = asyncio.ensure_future(drain.run(delay=0, most=5))
            await asyncio.sleep(0.05)
            assert not ended.done()
            whole.set()
            assert (await slow).status_code == 200
            assert await ended

    asyncio.run(go())
