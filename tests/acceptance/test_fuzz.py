"""Whatever is sent, the gateway answers with a code, or with data: no 5xx but a 503 that says why,
nothing of SQL, stacks or secrets, memory that does not grow, and it goes on.

`make fuzz` sends more; RECORDGATE_FUZZ_EXAMPLES and RECORDGATE_FUZZ_SEED choose how much and what.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

from compose.local.python_packages import environment
from gateway.context.services import Limits
from recordgate.http_server import bind, serve, url_of
from tests.acceptance.gateway_rig import SECRET, Rig, gateway
from tests.acceptance.test_differential import CONTRACT, filled
from tests.fuzz.attacks import ATTACKS, JSON
from tests.fuzz.mutilated import mutilated, odd_variables
from tests.servers import unless_it_cannot_be_had

EXAMPLES = int(os.environ.get("RECORDGATE_FUZZ_EXAMPLES", "150"))
SEED = os.environ.get("RECORDGATE_FUZZ_SEED", "1")
REQUIREMENTS = Path(__file__).parents[1] / "fuzz" / "schemathesis.txt"
ROOT = Path(__file__).parents[2]
LEAKS = re.compile(
    r"SELECT |INSERT INTO|Traceback|psycopg|\.py\b|sqlstate|pg_catalog|recordgate\.|maker_code|postgresql://"
    rf"|/{re.escape(ROOT.parts[1])}/|/tmp/|/home/|0x[0-9a-f]{{8}}",
    re.IGNORECASE,
)


def run(
    database: str,
    folder: Path,
    go: Callable[[Rig, random.Random], Awaitable[None]],
    limits: Limits | None = None,
) -> None:
    seed = secrets.randbelow(10**9) if SEED == "random" else int(SEED)
    print(f"RECORDGATE_FUZZ_SEED={seed} RECORDGATE_FUZZ_EXAMPLES={EXAMPLES}")

    async def main() -> None:
        async with gateway(
            database, folder, contract=CONTRACT, rows="SELECT 1", published=False, limits=limits
        ) as rig:
            await go(rig, random.Random(seed))

    asyncio.run(main())


def code_of(answer: httpx.Response, shown: str) -> str:
    """The answer's code, "" where there is no error; nothing in it that may not be told."""
    assert answer.status_code < 500 or answer.status_code == 503, (shown, answer.text[:500])
    text = answer.text
    if answer.request.method == "HEAD":
        assert not answer.content, shown
        return {405: "METHOD_NOT_ALLOWED", 200: ""}[answer.status_code]
    if answer.headers["content-type"].startswith("text/event-stream"):
        text = text.partition("data: ")[2].partition("\n")[0]
    body = orjson.loads(text)
    if answer.headers["content-type"].startswith("application/problem+json"):
        assert body["status"] == answer.status_code
        told = [body.get("detail", ""), body.get("hint", "")]
        code = body["code"]
    else:
        errors = body.get("errors", [])
        told = [e["message"] + e["extensions"].get("hint", "") for e in errors]
        code = errors[0]["extensions"]["code"] if errors else ""
    for message in told:
        assert not LEAKS.search(message), (shown, message)
    assert code != "INTERNAL", (shown, text[:500])
    assert SECRET.decode() not in text
    return str(code)


def memory() -> int:
    return int(psutil.Process().memory_info().rss)


def test_attacks_get_a_code_and_nothing_else(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig, chance: random.Random) -> None:
        await filled(rig, 1)
        codes: dict[str, str] = {}
        took: dict[str, float] = {}
        before_all = await rig.graphql("{ things { totalCount } }")
        before = 0
        for round_ in range(3):
            for attack in ATTACKS:
                answer = await rig.client.request(
                    attack.method,
                    "/graphql",
                    content=attack.body or None,
                    params=attack.params or None,
                    headers=attack.headers,
                )
                codes[attack.name] = code_of(answer, attack.name)
                took[attack.name] = max(took.get(attack.name, 0.0), answer.elapsed.total_seconds())
                assert codes[attack.name] in attack.codes, (attack.name, answer.text[:300])
            before = before or memory()
            alive = await rig.graphql('{ thing(id: "1") { nr } }')
            assert alive["data"] == {"thing": {"nr": 1}}, round_
            assert (await rig.graphql("{ things { totalCount } }"))["data"] == before_all["data"]
        assert max(took.values()) < 5, took
        assert memory() - before < 150 * 2**20
        for name, code in codes.items():
            print(f"{code or 'answered':24} {name}")

    run(database, tmp_path, go)


def test_mutilated_queries_are_answered_with_a_code(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig, chance: random.Random) -> None:
        maker = await filled(rig, 1)
        maker.chance = chance
        codes: Counter[str] = Counter()
        for _ in range(EXAMPLES * 4):
            if chance.random() < 0.5:
                query, variables = maker.read()
            else:
                query, _, variables = maker.search()
                variables = {k: variables[k] for k in ("filter", "sort")}
            if chance.random() < 0.6:
                query = mutilated(query, chance)
            if chance.random() < 0.6:
                variables = odd_variables(variables, chance)
            # As text: what is too large for orjson is what a caller may send.
            body = json.dumps({"query": query, "variables": variables})
            shown = f"\nquery: {query}\nvariables: {body[-3000:]}"
            answer = await rig.client.post("/graphql", content=body.encode(), headers=JSON)
            codes[code_of(answer, shown)] += 1
        print(dict(codes))
        assert codes["BAD_USER_INPUT"] > EXAMPLES
        assert codes[""] > EXAMPLES * 0.2

    run(database, tmp_path, go)


def test_a_body_that_does_not_come_holds_nothing_up(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig, _chance: random.Random) -> None:
        await filled(rig, 1)
        sock, stop, up = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
        served = asyncio.ensure_future(serve(rig.app, sock, stop, lambda _: up.set()))
        await up.wait()
        host, port = sock.getsockname()[:2]
        slow = []
        try:
            for _ in range(50):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(
                    b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                    b'content-length: 100\r\n\r\n{"query'
                )
                await writer.drain()
                slow.append((reader, writer))
            async with httpx.AsyncClient(base_url=url_of(sock)) as other:
                for _ in range(20):
                    answer = await other.post("/graphql", json={"query": "{ __typename }"})
                    assert answer.json()["data"] == {"__typename": "Query"}
            # Each gets an answer once its time is up, and its place is free again.
            for reader, writer in slow:
                head = await asyncio.wait_for(reader.readline(), 60)
                assert head.split()[1] in (b"408", b"503", b"504"), head
                writer.close()
        finally:
            stop.set()
            await served

    run(database, tmp_path, go, limits=Limits(statement_timeout=1))


def without_depth(answer: httpx.Response) -> Any:
    """Return the OpenAPI document with filters of a few comparisons and no depth. The tool draws a
    filter as deep and as wide as it is described, which takes it minutes for each request; filters
    in all their depth are tried by the differential test and by mutilated queries."""
    document = answer.json()
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Filter"):
            flat = {n: p for n, p in schema["properties"].items() if b"$ref" not in orjson.dumps(p)}
            schema["properties"] = {
                n: {**p, "properties": dict(list(p["properties"].items())[:3])}
                for n, p in list(flat.items())[:3]
            }
    return document


@pytest.mark.timeout(900)
def test_schemathesis_finds_nothing_on_the_rest_side(database: str, tmp_path: Path) -> None:
    with unless_it_cannot_be_had():
        tool = environment(REQUIREMENTS) / "schemathesis"

    async def go(rig: Rig, chance: random.Random) -> None:
        await filled(rig, 1)
        sock, stop, up = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
        served = asyncio.ensure_future(serve(rig.app, sock, stop, lambda _: up.set()))
        await up.wait()
        described = tmp_path / "openapi.json"
        described.write_bytes(orjson.dumps(without_depth(await rig.client.get("/openapi.json"))))
        process = None
        try:
            process = await asyncio.create_subprocess_exec(
                str(tool), "--config-file", str(REQUIREMENTS.with_suffix(".toml")), "run",
                str(described),
                "--url", url_of(sock),
                "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,"
                "response_schema_conformance,unsupported_method",
                "--max-examples", str(max(3, EXAMPLES // 50)), "--seed",
                str(chance.randrange(10**6)),
                "--phases", "examples,coverage,fuzzing", "--generation-database", "none", "--no-color",
                "--suppress-health-check", "all",
                cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            out, _ = await process.communicate()
        finally:
            if process is not None and process.returncode is None:
                process.kill()
            stop.set()
            await served
        print(out.decode()[-3000:])
        assert process.returncode == 0, out.decode()[-6000:]

    run(database, tmp_path, go)
