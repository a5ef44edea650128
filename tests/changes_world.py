"""A hospital whose patients are followed: row filters over a relation, masks of each kind, a
composite key, and names that break whatever does not quote them; a worker that keeps the changes;
followers who hold what they were told."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import time
from collections.abc import AsyncIterator, Callable
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import orjson
import psycopg

from gateway.compiler.verdicts import followed_types
from stores import crash_points
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.registry import open_store
from sync import lease, worker
from sync.sources.registry import open_source
from sync.worker import Worker
from tests.acceptance.access_rig import bearer, keys_for, with_keys
from tests.acceptance.gateway_rig import Rig, gateway

CONTRACT = r"""
apiVersion: v3.2.0
kind: DataContract
id: hospital
name: A hospital that is followed
version: 1.0.0
status: active
roles:
  - {role: admin, access: write}
  - {role: clerk, access: read}
  - {role: guest, access: read}
schema:
  - name: ward
    physicalName: wards
    customProperties:
      - {property: rowFilter, vendor: recordgate, value: {guest: {open: {eq: true}}}}
      - {property: changes, vendor: recordgate, value: {keep: 7d}}
    properties:
      - {name: code, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: open, logicalType: boolean, required: true}
  - name: patient
    physicalName: "odd -- select"
    customProperties:
      - {property: embed, vendor: recordgate, value: [ward]}
      - property: rowFilter
        vendor: recordgate
        value:
          clerk: {ward: {open: {eq: true}}}
          guest: {and: [{label: {neq: "50% off'"}}, {ward: {open: {eq: true}}}]}
      - {property: changes, vendor: recordgate, value: {keep: 7d}}
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: label, logicalType: string, physicalName: 'la bel, $1'}
      - name: email
        logicalType: string
        customProperties: [{property: masking, vendor: recordgate, value: {clerk: partial, guest: hash}}]
      - name: salary
        logicalType: number
        physicalType: "numeric(12,2)"
        customProperties: [{property: readRoles, vendor: recordgate, value: [admin]}]
      - {name: score, logicalType: number, physicalType: double precision}
      - {name: tags, logicalType: array, items: {logicalType: string}}
      - {name: notes, logicalType: object}
      - {name: born, logicalType: date}
      - {name: seen, logicalType: timestamp}
      - name: wardCode
        physicalName: ward_code
        logicalType: string
        relationships:
          - {id: ward, to: ward.code, customProperties: [{property: inverse, vendor: recordgate, value: patients}]}
  - name: visit
    physicalName: visits
    customProperties:
      - {property: changes, vendor: recordgate, value: {keep: 7d}}
      - {property: expose, vendor: recordgate, value: {roles: {export: [admin]}}}
    properties:
      - {name: day, logicalType: date, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: room, logicalType: string, primaryKey: true, primaryKeyPosition: 2, required: true}
      - {name: reason, logicalType: string}
  - name: note
    physicalName: notes
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
"""
PATIENTS = '"odd -- select"'
LABEL = '"la bel, $1"'
ROWS = f"""
INSERT INTO wards VALUES ('a', true), ('b', false), ('c', true);
INSERT INTO {PATIENTS} (id, {LABEL}, email, salary, score, tags, notes, born, seen, ward_code)
SELECT i, 'label ' || i, 'someone' || i || '@example.org', i * 1000.5, CASE WHEN i % 5 = 0 THEN 'NaN' ELSE i / 3.0 END,
  ARRAY['x', NULL, 'a"b'], jsonb_build_object('n', i), '2000-01-01'::date + i, '2020-01-01T00:00:00.123456Z',
  (ARRAY['a', 'b', 'c', NULL])[1 + i % 4]
FROM generate_series(1, 40) i;
INSERT INTO visits SELECT '2024-01-01'::date + i, E'r,o\\\\om ' || i, 'r' FROM generate_series(1, 10) i;
"""
ROLES = ("admin", "clerk", "guest")
PATIENCE = 60.0
FORK = multiprocessing.get_context("fork")


def contract_file(folder: Path, change: Callable[[str], str] = lambda text: text) -> Path:
    file = folder / "hospital.odcs.yaml"
    file.write_text(change(CONTRACT), "utf-8")
    return file


def make_worker(contract: Contract, url: str, folder: Path) -> Worker:
    return Worker(
        contract=contract,
        canonical_url=url,
        source=lambda: open_source("pgoutput:", contract, url),
        sinks={"documents": open_store("sqlite:", folder / "worker")},
        followed=followed_types(contract),
    )


@contextlib.asynccontextmanager
async def working(contract: Contract, url: str, folder: Path) -> AsyncIterator[Worker]:
    """A worker in this process, quick to record how far it is."""
    made = make_worker(contract, url, folder)
    with mock.patch.object(worker, "RECORD", 0.05), mock.patch.object(worker, "RECORD_IDLE", 0.1):
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            await made.stop()
            await task


def _work(url: str, folder: str, point: str, count: int) -> None:
    """In the forked process: a worker, until it is killed or told to stop."""
    crash_points.arm(point, count)
    worker.RECORD = lease.RETRY = 0.05
    worker.RECORD_IDLE = 0.1
    path = Path(folder)

    async def main() -> None:
        made = make_worker(load_contract(path / "hospital.odcs.yaml"), url, path)
        tasks: list[asyncio.Task[None]] = []
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGTERM, lambda: tasks.append(asyncio.create_task(made.stop()))
        )
        await made.run()

    asyncio.run(main())


def forked(url: str, folder: Path, point: str = "", count: int = 1) -> ForkProcess:
    process = FORK.Process(target=_work, args=(url, str(folder), point, count))
    process.start()
    return process


@contextlib.asynccontextmanager
async def hospital(
    database: str, folder: Path, *, contract: Path | None = None, rows: str = ROWS, **more: Any
) -> AsyncIterator[tuple[Rig, dict[str, dict[str, str]]]]:
    """A gateway without a worker, and the headers of a caller of each role."""
    path, texts = keys_for(folder, *((role,) for role in ROLES), ())
    headers = {role: bearer(text) for role, text in zip((*ROLES, "nobody"), texts, strict=True)}
    async with gateway(
        database,
        folder,
        contract=contract or contract_file(folder),
        rows=rows,
        published=False,
        access=with_keys(path),
        **more,
    ) as rig:
        yield rig, headers


class Follower:
    """One who exports a type once and follows it from there. `records`: what it holds."""

    def __init__(
        self, client: httpx.AsyncClient, name: str, key: tuple[str, ...], headers: dict[str, str]
    ) -> None:
        self._client, self.name, self._key, self._headers = client, name, key, headers
        self.records: dict[tuple[Any, ...], Any] = {}
        self.next = ""
        self.position = ""
        self.baselines = 0
        self.told: list[tuple[str, Any]] = []

    def key(self, record: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(record[k] for k in self._key)

    async def begin(self, location: str = "") -> None:
        location = location or f"/export/{self.name}?changes=1"
        deadline = time.monotonic() + PATIENCE
        while (
            answer := await self._client.get(location, headers=self._headers)
        ).status_code == 503:
            assert time.monotonic() < deadline, answer.text
            await asyncio.sleep(0.05)
        assert answer.status_code == 200, answer.text
        self.records = {self.key(r): r for r in map(orjson.loads, answer.content.splitlines())}
        self.next = answer.headers["recordgate-changes"]
        self.baselines += 1

    async def poll(self, **params: Any) -> bool:
        """One page; whether there is more. Begins anew where the history is gone."""
        answer = await self._client.get(
            f"/changes/{self.name}", params={"after": self.next, **params}, headers=self._headers
        )
        if answer.status_code == 503:
            await asyncio.sleep(0.05)
            return True
        if answer.status_code == 410:
            await self.begin(answer.headers["location"])
            return True
        assert answer.status_code == 200, answer.text
        *changes, last = map(orjson.loads, answer.content.splitlines())
        for change in changes:
            record = change["record"]
            self.told.append((change["op"], record))
            if change["op"] == "upsert":
                self.records[self.key(record)] = record
            else:
                assert self.records.pop(self.key(record), None) is not None, record
        self.next, self.position = last["next"], last["position"]
        return bool(last["more"])

    async def settle(self, lsn: int) -> None:
        """Until everything up to `lsn` was told."""
        deadline = time.monotonic() + PATIENCE
        while True:
            more = await self.poll(wait="0.2s")
            high, _, low = (self.position or "0/0").partition("/")
            if not more and (int(high, 16) << 32) + int(low, 16) >= lsn:
                return
            assert time.monotonic() < deadline, (self.name, self.position)

    async def truth(self) -> dict[tuple[Any, ...], Any]:
        """What the type's plain export says."""
        deadline = time.monotonic() + PATIENCE
        while (
            answer := await self._client.get(f"/export/{self.name}", headers=self._headers)
        ).status_code == 503:
            assert time.monotonic() < deadline, answer.text
            await asyncio.sleep(0.05)
        return {self.key(r): r for r in map(orjson.loads, answer.content.splitlines())}


def position(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute(
            "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
        ).fetchone()
    assert row is not None
    return int(row[0])
