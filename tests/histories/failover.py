"""Histories in which canonical fails over, again and again: `python -m tests.histories.failover
--seconds 600`.

A round writes at random, cuts the standby off, writes what will be lost, kills the primary and
promotes the standby, with or without the worker's slot, with the worker killed at any of these
moments or not; then every store must come to equal what canonical is now. Exit 0: no difference; 1:
one was found, and the seed is told.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from psycopg import pq

from compose.local import servers as local
from stores.canonical.connect import connect, lineage
from stores.canonical.publication import slot_name
from tests.failover import PATIENCE, Servers, servers
from tests.histories import statements, steps
from tests.histories.stage import SINKS, Stage, stage

KINDS = 300
"""Different transactions of a run."""


def transactions() -> list[list[str]]:
    found: list[list[str]] = []

    @settings(
        max_examples=KINDS, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(statements.transaction())
    def collect(what: list[str]) -> None:
        found.append(what)

    collect()
    return found


class Rounds:
    def __init__(self, pair: Servers, found: Stage, seed: int) -> None:
        self._pair, self._stage = pair, found
        self._random = random.Random(seed)
        self._kinds = transactions()
        self._primary, self._standby = "a", "b"
        self.told: list[str] = []

    def _write(self, most: int) -> None:
        for _ in range(self._random.randint(1, most)):
            steps.transaction(self._stage, *self._random.choice(self._kinds))

    def _worker(self) -> None:
        what = self._random.choice(("start", "start", "start", "kill", "stop"))
        self.told.append(what)
        steps.worker(self._stage, what)

    def _carry_slot(self) -> None:
        """The slot becomes one that the standby has, too."""
        slot = slot_name(self._stage.contract, "postgres")
        self._stage.stop()
        pgconn = pq.PGconn.connect(
            f"{self._pair.url_of(self._primary)}?replication=database".encode()
        )
        result = pgconn.exec_(f'ALTER_REPLICATION_SLOT "{slot}" (FAILOVER true)'.encode())
        assert result.status == pq.ExecStatus.COMMAND_OK, result.error_message
        pgconn.finish()
        self._pair.sync_slot(self._primary, self._standby, slot)
        self._stage.start()

    def play(self) -> None:
        found, pair = self._stage, self._pair
        self.told = []
        self._worker()
        self._write(12)
        if self._random.random() < 0.5:
            self.told.append("slot carried")
            self._carry_slot()
        pair.caught_up(self._primary, self._standby)
        pair.cut_off(self._standby)
        if self._random.random() < 0.8:
            self._write(12)
        self._worker()
        time.sleep(self._random.choice((0, 0.05, 0.3, 1.0)))
        pair.kill(self._primary)
        found.conn.close()
        self._worker()
        pair.promote(self._standby)
        found.conn = connect(found.spec.canonical)
        self._write(12)
        self._equal()
        self._primary, self._standby = self._standby, self._primary
        shutil.rmtree(pair.folder / self._standby)
        pair.standby(self._primary, self._standby)

    def _equal(self) -> None:
        """Positions of a history that was left may be greater than any of now."""
        found = self._stage
        found.start()
        now = lineage(found.conn).timeline
        deadline = time.monotonic() + 2 * PATIENCE
        for sink in SINKS:
            while True:
                position = found.run(found.reader(sink).position())
                if position is not None and position.timeline == now:
                    break
                assert time.monotonic() < deadline, f"{sink} is at {position}: {found.last_words()}"
                time.sleep(0.02)
        found.settle()


@contextmanager
def _stores(real: bool) -> Iterator[dict[str, str] | None]:
    if not real:
        yield None
        return
    name = f"h{uuid.uuid4().hex[:8]}"
    folder = Path(tempfile.mkdtemp(prefix="recordgate-failover-stores-"))
    folder.chmod(0o755)
    mongodb, documents = local.start_mongodb(folder / "mongodb")
    search, url = local.start_elasticsearch(folder / "elasticsearch")
    try:
        yield {
            "documents": f"{documents}/{name}",
            "search": f"elasticsearch{url.removeprefix('http')}/{name}",
        }
    finally:
        search.stop()
        mongodb.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 2**31))
    parser.add_argument("--servers", action="store_true", help="with Elasticsearch and MongoDB")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="recordgate-failover-history-"))
    began = time.monotonic()
    played = 0
    try:
        with servers() as pair, _stores(options.servers) as stores:
            pair.pair()
            with stage(pair.url, folder, stores=stores) as found:
                steps.begin(found)
                rounds = Rounds(pair, found, options.seed)
                while time.monotonic() - began < options.seconds:
                    try:
                        rounds.play()
                    except AssertionError as error:
                        print(f"seed {options.seed}, round {played}: {rounds.told}: {error}")
                        return 1
                    played += 1
                print(
                    f"{played} failovers, {found.changes} statements, {found.compared} documents compared,"
                    f" {found.kills} kills, 0 differences (seed {options.seed})"
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
