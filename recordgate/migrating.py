"""Carries a contract through: canonical, workers, stores, gateways, in the order of
`migration_order`. Nothing is kept of how far it is: the next run sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg import AsyncConnection

from recordgate import migration_order
from recordgate.live import affected, refuse_to_break
from recordgate.migration_order import Stage, Standing, adds, follows
from recordgate.migrations.run import migrate
from recordgate.reload_requests import ask, living
from recordgate.settings import Settings
from recordgate.store_needs import Need, store_needs
from recordgate.sync_access import sync_access, with_worker
from stores.canonical.apply import apply_plan, refuse
from stores.canonical.connect import Connection, connect
from stores.canonical.plan import make_plan
from stores.canonical.publication import slot_name
from stores.canonical.steps import SchemaPlan
from stores.contract.model import Contract
from stores.contract.shape import contract_digest
from stores.crash_points import crash_point
from stores.errors import ConflictError, InputError
from sync.lease import worker_runs

LOCK = 0x7265_636F_7264_0003
"""Key of the advisory lock under which one `migrate` runs."""
LOOK = 0.2
ALONE = 45.0
"""Seconds in which another worker takes over from one that has ended."""

_BUILDING = """
SELECT sink, type, rows FROM recordgate.generations WHERE state = 'building' ORDER BY sink, type
"""
_CONDITION = """
SELECT sink, type, message FROM recordgate.conditions WHERE code <> 'loading' ORDER BY 1, 2 LIMIT 1
"""

Told = Callable[[str, int, int], None]
"""Called with what is being done, and how much of how much is done."""


@dataclass(frozen=True, slots=True)
class Consent:
    """The risks that somebody said yes to. `losing`: data may be lost, and who can take the
    contract while it runs may be without something until it has. `breaking`: who cannot take it may
    break."""

    losing: bool = False
    breaking: bool = False


@contextmanager
def one_at_a_time(conn: Connection) -> Iterator[None]:
    """Raises ConflictError (code MIGRATE_RUNS) where another `migrate` runs. One that is killed
    lets go at once."""
    row = conn.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    if row is None or not row[0]:
        raise ConflictError(
            "another migrate is under way", hint="wait for it; it can be stopped and run again",
            code="MIGRATE_RUNS",
        )  # fmt: skip
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # with the connection, the lock is gone
            conn.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def look(conn: Connection, contract: Contract) -> Standing:
    """Return how things stand now. Raises as `make_plan` does."""
    return Standing(
        make_plan(conn, contract),
        contract,
        tuple(living(conn)),
        tuple(store_needs(conn, contract)),
    )


def require_consent(standing: Standing, consent: Consent) -> None:
    """Raise what keeps it from being begun: steps that cannot be carried out as things are, data
    that would be lost (DESTRUCTIVE_REFUSED), processes that would break (LIVE_PROCESSES)."""
    refuse(standing.plan, allow_destructive=True)
    if standing.plan.destructive and not consent.losing:
        raise InputError(
            "data may be lost: " + "; ".join(s.text for s in standing.plan.destructive),
            hint="pass --yes to carry it out",
            code="DESTRUCTIVE_REFUSED",
        )
    lasting = [a for a in standing.broken if not migration_order.can_reload(a.process)]
    if lasting and not consent.breaking:
        refuse_to_break(standing.adding, lasting)
    if standing.broken and not (consent.losing or consent.breaking):
        said = "; ".join(f"{a.process.name}: {', '.join(a.breaks)}" for a in standing.broken)
        raise ConflictError(
            f"running processes are without something until they have the contract: {said}",
            hint="pass --yes to carry it out: what they are without is refused for a moment, the"
            " rest is answered",
            code="LIVE_PROCESSES",
        )


class Migration:
    """One run. `settings` and `contract` are the command's; `url` is canonical's."""

    def __init__(
        self,
        settings: Settings,
        contract: Contract,
        url: str,
        conn: Connection,
        *,
        consent: Consent,
        told: Told,
    ) -> None:
        self._settings, self._contract, self._url = settings, contract, url
        self._conn, self._consent, self._told = conn, consent, told
        self._left: list[str] = []
        """Processes that have not taken the contract, and why."""
        self.done: list[str] = []
        """The lines that tell people what was done."""

    def run(self, standing: Standing) -> None:
        """Carry it out. Raises RecordgateError where it cannot go on; what is done stays, and the
        next run goes on from there."""
        stages = migration_order.order(standing)
        work = {
            Stage.ADD: self._add,
            Stage.WORKERS: lambda: self._take("workers", following=True),
            Stage.LOAD: self._load,
            Stage.GATEWAYS: lambda: self._take("gateways", following=False),
            Stage.TAKE_AWAY: self._take_away,
        }
        for number, stage in enumerate(stages):
            self._told(stage.value, number, len(stages))
            work[stage]()
            crash_point(f"migrate-{stage.value.replace(' ', '-')}")
        if not self._consent.breaking:
            self._require_taken()

    # Canonical ------------------------------------------------------------------------------------

    def _add(self) -> None:
        if migrate(self._conn):
            self.done.append("recordgate's own tables are up to date")
        plan = make_plan(self._conn, self._contract)
        if not all(adds(s) for s in plan.steps):
            self._apply(plan, [s.text for s in plan.steps if adds(s)], some=True)
        else:
            self._apply(plan, [s.text for s in plan.steps], some=False)

    def _take_away(self) -> None:
        plan = make_plan(self._conn, self._contract)
        if not plan.steps:
            return
        live = affected(plan, self._contract, living(self._conn))
        if not self._consent.breaking:
            refuse_to_break(plan, live)
        self._apply(plan, [s.text for s in plan.steps], some=False)

    def _apply(self, plan: SchemaPlan, texts: Sequence[str], *, some: bool) -> None:
        apply_plan(
            self._conn,
            self._contract,
            plan,
            allow_destructive=self._consent.losing,
            chosen=adds if some else None,
        )
        self.done += [f"+ {text}" for text in texts]
        self._register()

    def _register(self) -> None:
        changes = self._settings.changes.get_secret_value()
        if changes.startswith("kafka:"):
            from sync.sources.debezium import apply_connector

            apply_connector(changes, self._contract, self._url)

    # Processes ------------------------------------------------------------------------------------

    def _require_taken(self) -> None:
        if self._left:
            raise ConflictError(
                f"not everybody has taken the contract: {'; '.join(self._left)}",
                hint="give them this contract, or restart them with it; then run `recordgate"
                " migrate` again, which goes on from here",
                code="LIVE_PROCESSES",
            )

    def _take(self, what: str, *, following: bool) -> None:
        """Let the processes take the contract. A worker that has not taken it stops the migration,
        for it would not load; a gateway where something is taken away that it needs, else at the
        end."""
        digest = contract_digest(self._contract)
        some = [
            p for p in living(self._conn) if follows(p) is following and p.contract_digest != digest
        ]
        if not some:
            return
        answers = ask(
            self._conn,
            some,
            heard=lambda n: self._told(f"{what} take the contract", n, len(some)),
        )
        now = {p.id: p for p in living(self._conn)}
        left: list[str] = []
        for answer in answers:
            process = now.get(answer.process.id)
            said = f"{answer.process.name}: {answer.said}"
            if process is None or process.contract_digest == digest:
                self.done.append(f"+ {said}")
                continue
            if answer.ok:
                said = (
                    f"{answer.process.name}: its file is another one, of contract"
                    f" {process.contract_version}"
                )
            self.done.append(f"! {said}")
            left.append(said)
        self._left += left
        if following and not self._consent.breaking:
            self._require_taken()

    # Stores ---------------------------------------------------------------------------------------

    def _load(self) -> None:
        missing = self._missing()
        if missing:
            asyncio.run(self._wait(missing))
            self.done += [f"~ {need.text}" for need in missing]

    def _missing(self) -> list[Need]:
        return [n for n in store_needs(self._conn, self._contract) if n.what != "drop"]

    async def _wait(self, missing: list[Need]) -> None:
        """Wait until the stores hold what the contract says: by the worker that runs, else by one
        of this process. Raises what no waiting mends."""
        contract, slot = self._contract, ""
        async with (
            sync_access(self._settings, contract, ()) as access,
            with_worker(self._settings, contract, access) as assure,
        ):
            slot = slot_name(contract, access.conn.info.dbname)
            total, seen = len(missing), time.monotonic()
            while left := await asyncio.to_thread(self._missing):
                self._told(await _loading(access.conn, left), total - len(left), total)
                assure()
                if await worker_runs(access.conn, slot):
                    seen = time.monotonic()
                elif time.monotonic() - seen > ALONE:
                    raise ConflictError(
                        "the worker has ended before the stores were loaded",
                        hint="start it again with this contract, and run `recordgate migrate`"
                        " again, which goes on from here",
                    )
                crash_point("migrate-loading")
                await asyncio.sleep(LOOK)


async def _loading(conn: AsyncConnection, left: Sequence[Need]) -> str:
    """Return what is being loaded, or what stands in the way."""
    rows = await (await conn.execute(_BUILDING)).fetchall()
    if rows:
        return ", ".join(f"{sink}: {name} {count:,} records" for sink, name, count in rows)
    found = await (await conn.execute(_CONDITION)).fetchone()
    if found is not None:
        return ": ".join(part for part in found if part)
    return f"{left[0].sink}: {left[0].type}"


def opened(url: str) -> Connection:
    """The connection of a migration."""
    return connect(url, application_name="recordgate migrate")
