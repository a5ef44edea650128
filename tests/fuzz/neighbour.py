"""What one caller's attacks do to another's answers: `python -m tests.fuzz.neighbour [SECONDS]`
prints the neighbour's p50 and p99 on a quiet gateway and while four connections send every attack
in turn.

The gateway is a process of its own. Attackers and neighbour share the machine with it, so that on
few cores the figures hold what the attackers' own work costs as well.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

import httpx
import psycopg

from recordgate.embedded import EmbeddedPostgres
from stores.contract.load import load_contract
from tests.acceptance.gateway_rig import prepare
from tests.acceptance.test_up import started
from tests.differential.rows import fill
from tests.fuzz.attacks import ATTACKS

CONTRACT = Path(__file__).parents[1] / "differential" / "contract.odcs.yaml"
READ = {"query": "query ($id: ID!) { thing(id: $id) { nr title maker { name } } }"}


async def neighbour(url: str, seconds: float) -> list[float]:
    """Milliseconds of each read, one after the other with a pause between."""
    found: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        end = time.monotonic() + seconds
        for number in itertools.count():
            if time.monotonic() > end:
                return found
            start = time.perf_counter()
            answer = await client.post(
                "/graphql", json=READ | {"variables": {"id": f"{number % 200}"}}
            )
            found.append((time.perf_counter() - start) * 1000)
            assert answer.json()["data"]["thing"], answer.text
            await asyncio.sleep(0.005)
    raise AssertionError


async def attacker(url: str, place: int) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for attack in itertools.islice(itertools.cycle(ATTACKS), place * 11, None):
            await client.request(
                attack.method, "/graphql", content=attack.body or None, params=attack.params or None,
                headers=attack.headers,
            )  # fmt: skip


async def measure(url: str, seconds: float) -> None:
    await neighbour(url, 1)
    quiet = await neighbour(url, seconds)
    attackers = [asyncio.create_task(attacker(url, place)) for place in range(4)]
    attacked = await neighbour(url, seconds)
    for task in attackers:
        task.cancel()
    await asyncio.gather(*attackers, return_exceptions=True)
    for name, found in (("quiet", quiet), ("under attack", attacked)):
        cuts = quantiles(found, n=100)
        print(f"{name:12} p50 {cuts[49]:7.1f} ms  p99 {cuts[98]:7.1f} ms  {len(found)} reads")
    print(f"p99 {quantiles(attacked, n=100)[98] / quantiles(quiet, n=100)[98]:.1f} times")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        server = EmbeddedPostgres(folder / "postgres")
        try:
            url = server.start()
            prepare(url, load_contract(CONTRACT), "SELECT 1")
            with psycopg.connect(url) as conn:
                fill(conn, 1)
            config = folder / "recordgate.toml"
            config.write_text(
                f'contract = "{CONTRACT}"\npostgres = "{url}"\ndata_dir = "{folder}/data"\nport = 0\n'
            )
            with started(config, "serve") as process:
                asyncio.run(measure(process.url, seconds))
        finally:
            server.release()
            server.wait_stopped()


if __name__ == "__main__":
    main()
