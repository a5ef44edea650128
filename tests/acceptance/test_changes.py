"""Changes of a type: export and changes leave no gap, whoever follows and whatever is killed;
nothing hidden leaves."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg
import pytest

from gateway.changes import news, page
from gateway.context.change_tokens import read_position, write_position
from stores.contract.load import load_contract
from sync import kept_changes
from tests.acceptance.gateway_rig import SECRET, Rig
from tests.changes_world import (
    LABEL,
    PATIENTS,
    ROLES,
    Follower,
    forked,
    hospital,
    position,
    working,
)

KEYS = {"ward": ("code",), "patient": ("id",), "visit": ("day", "room")}


def disturb(conn: psycopg.Connection[Any], pick: random.Random, turn: int) -> None:
    """One transaction; records come, go, come again, and change in what only some may see."""
    several = [
        f"UPDATE {PATIENTS} SET {LABEL} = CASE WHEN {LABEL} = '50% off''' THEN 'turn {turn}' ELSE"
        f" '50% off''' END"
        f" WHERE id = {pick.randint(1, 45)}",
        f"UPDATE {PATIENTS} SET salary = coalesce(salary, 0) + 1 WHERE id % 7 ="
        f" {pick.randint(0, 6)}",
        f"UPDATE {PATIENTS} SET email = 'x{turn}' || substr(email, 3) WHERE id ="
        f" {pick.randint(1, 45)}",
        f"DELETE FROM {PATIENTS} WHERE id = {pick.randint(1, 45)}",
        f"INSERT INTO {PATIENTS} (id, email, ward_code) VALUES ({pick.randint(1, 45)},"
        f" 'new{turn}@example.org',"
        f" '{pick.choice('abc')}') ON CONFLICT (id) DO UPDATE SET score = {turn}, tags = NULL",
        f"UPDATE {PATIENTS} SET ward_code = '{pick.choice('abc')}' WHERE id = {pick.randint(1, 45)}",
        f"UPDATE {PATIENTS} SET id = id + 1000 WHERE id = {pick.randint(1, 45)}",
        f"DELETE FROM {PATIENTS} WHERE id > 1000",
        f"UPDATE wards SET open = NOT open WHERE code = '{pick.choice('abc')}'",
        f"UPDATE visits SET reason = 'turn {turn}' WHERE day = '2024-01-0{pick.randint(1, 9)}'",
    ]
    with conn.transaction():
        for statement in pick.sample(several, pick.randint(1, 4)):
            conn.execute(statement.encode())
        if turn % 29 == 28:
            conn.execute(b"TRUNCATE visits")
            conn.execute(
                b"INSERT INTO visits SELECT '2024-01-01'::date + i, 'again ' || i FROM"
                b" generate_series(1, 4) i"
            )


@pytest.mark.parametrize("seed", range(2))
def test_export_and_changes_leave_no_gap_through_random_histories_and_kills(
    database: str, tmp_path: Path, seed: int
) -> None:
    """Followers of each role hold in the end what a plain export says; the worker is killed at each
    named point, and an export begins wherever it likes."""
    pick = random.Random(seed)
    points = ["changes-begun", "changes-keeping", "changes-kept", "recorded"]

    async def main() -> None:
        async with hospital(database, tmp_path) as (rig, headers):
            process = forked(database, tmp_path, points[0])
            await asyncio.to_thread(process.join, 30)
            assert process.exitcode == -signal.SIGKILL, points[0]
            process = forked(database, tmp_path)
            followers = [
                Follower(rig.client, name, key, headers[role])
                for name, key in KEYS.items()
                for role in (ROLES if name != "visit" else ("admin",))
            ]
            for one in followers:
                await one.begin()
            killed = 0
            with psycopg.connect(database, autocommit=True) as conn:
                for turn in range(60):
                    disturb(conn, pick, turn)
                    if turn % 20 == 10:
                        process.kill()
                        process.join()
                        point = points[1 + killed % 3]
                        process = forked(database, tmp_path, point, pick.randint(1, 3))
                        killed += 1
                    if not process.is_alive():
                        assert process.exitcode == -signal.SIGKILL
                        process = forked(database, tmp_path)
                    for one in pick.sample(followers, 2):
                        await one.poll(first=pick.randint(1, 9))
                    if turn % 30 == 17:
                        await pick.choice(followers).begin()
            process.kill()  # it may still be on its way to its point
            process.join()
            process = forked(database, tmp_path)
            end = position(database)
            for one in followers:
                await one.settle(end)
                assert one.records == await one.truth(), (one.name, seed)
            process.terminate()
            process.join(30)
            assert process.exitcode == 0
            assert killed == 3

    asyncio.run(main())


# One world, asked in many ways -------------------------------------------------------------------


class Followed:
    """A gateway and a worker, and one who follows the patients as each role."""

    def __init__(self, rig: Rig, url: str, headers: dict[str, dict[str, str]]) -> None:
        self.rig, self.url, self.headers = rig, url, headers
        self.by_role = {r: self.follower("patient", r) for r in ROLES}

    def follower(self, name: str, role: str) -> Follower:
        return Follower(self.rig.client, name, KEYS[name], self.headers[role])

    def do(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    async def settled(self, role: str) -> list[tuple[str, Any]]:
        """What this role is told of what was committed so far."""
        one = self.by_role[role]
        one.told.clear()
        await one.settle(position(self.url))
        return one.told

    async def get(self, path: str, role: str = "admin", **params: Any) -> httpx.Response:
        return await self.rig.client.get(path, params=params or None, headers=self.headers[role])


def follow(
    database: str, folder: Path, work: Callable[[Followed], Awaitable[None]], **more: Any
) -> None:
    async def main() -> None:
        async with (
            hospital(database, folder, **more) as (rig, headers),
            working(rig.services.contract, database, folder),
        ):
            listening = asyncio.ensure_future(
                rig.services.listener.run(str(rig.services.pool.conninfo))
            )
            world = Followed(rig, database, headers)
            try:
                for one in world.by_role.values():
                    await one.begin()
                await work(world)
            finally:
                listening.cancel()

    asyncio.run(main())


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_what_is_hidden_makes_no_change_and_leaving_a_row_filter_is_a_delete(
    database: str, tmp_path: Path
) -> None:
    async def go(world: Followed) -> None:
        # A property that only admins read, the hidden middle of an e-mail, and a patient of a shut
        # ward.
        world.do(
            f"UPDATE {PATIENTS} SET salary = 1, email = 's0meone' || id || '@example.org' WHERE id"
            f" = 4",
            f"UPDATE {PATIENTS} SET {LABEL} = 'other' WHERE id = 5",
        )
        assert [(op, r["id"], r["salary"]) for op, r in await world.settled("admin")] == [
            ("upsert", 4, "1.00"), ("upsert", 5, "5002.50"),
        ]  # fmt: skip
        assert await world.settled("clerk") == []
        hashed = await world.settled("guest")
        assert [(op, r["id"], r["salary"]) for op, r in hashed] == [("upsert", 4, None)]
        # The ward shuts: its patients leave, and none of them has changed itself.
        world.do("UPDATE wards SET open = false WHERE code = 'a'")
        assert await world.settled("admin") == []
        gone = await world.settled("clerk")
        assert {op for op, _ in gone} == {"delete"}
        assert sorted(r["id"] for _, r in gone) == [i for i in range(1, 41) if i % 4 == 0]
        assert all(set(r) == {"id"} for _, r in gone)
        # While it is shut one of them changes and one goes: nobody outside hears of it. Then it
        # opens.
        world.do(
            f"UPDATE {PATIENTS} SET score = 7 WHERE id = 8", f"DELETE FROM {PATIENTS} WHERE id = 12"
        )
        assert await world.settled("clerk") == []
        world.do("UPDATE wards SET open = true WHERE code = 'a'")
        back = await world.settled("clerk")
        assert {op for op, _ in back} == {"upsert"}
        assert sorted(r["id"] for _, r in back) == [
            i for i in range(1, 41) if i % 4 == 0 and i != 12
        ]
        for one in world.by_role.values():
            await one.settle(position(database))
            assert one.records == await one.truth()
        # Two answers that say the same differ in their token, which says nothing of what was passed
        # over.
        asked = [
            await world.get("/changes/patient", "clerk", after=world.by_role["clerk"].next)
            for _ in "12"
        ]
        assert len({a.json()["next"] for a in asked}) == 2
        assert [a.json()["op"] for a in asked] == ["next", "next"]
        # Who may not export a type follows it neither; who has no role sees no row.
        assert code(await world.get("/export/visit", "clerk", changes=1)) == (403, "FORBIDDEN")
        token = (await world.get("/export/visit", changes=1)).headers["recordgate-changes"]
        assert code(await world.get("/changes/visit", "guest", after=token)) == (403, "FORBIDDEN")
        assert (await world.get("/export/patient", "nobody", changes=1)).content == b""

    follow(database, tmp_path, go)


def test_a_position_is_of_one_view_one_history_and_nobody_makes_one(
    database: str, tmp_path: Path
) -> None:
    async def go(world: Followed) -> None:
        world.do(f"UPDATE {PATIENTS} SET score = 1 WHERE id IN (1, 2)")
        await world.settled("admin")
        token = world.by_role["admin"].next
        said = read_position(token, SECRET)

        async def answered(other: str, **params: Any) -> tuple[int, str]:
            answer = await world.get("/changes/patient", after=other, **params)
            return (200, "OK") if answer.is_success else code(answer)

        assert await answered(token) == (200, "OK")
        for wrong in (
            "",
            "x",
            token[:-1],
            token + "A",
            "A" * len(token),
            token[:40] + "AA" + token[42:],
            "é" * 124,
        ):
            assert await answered(wrong) == (400, "BAD_USER_INPUT"), wrong
        fresh = write_position(said, b"another secret, of another product")
        assert await answered(fresh) == (400, "BAD_USER_INPUT")
        for other in (
            replace(said, system=b"another database"), replace(said, timeline=said.timeline + 1),
            replace(said, epoch=said.epoch + 1), replace(said, id=said.id + 1), replace(said,
            at=said.at + 1),
            replace(said, id=0),
        ):  # fmt: skip
            assert await answered(write_position(other, SECRET)) == (410, "GONE"), other
        # Another role's, another type's, and one of other fields: a view of its own each.
        clerk = world.by_role["clerk"].next
        assert await answered(clerk) == (410, "GONE")
        ward = (await world.get("/export/ward", changes=1)).headers["recordgate-changes"]
        assert await answered(ward) == (410, "GONE")
        assert await answered(token, fields="id,label") == (410, "GONE")
        answer = await world.get("/changes/patient", after=token, fields="id,label")
        assert answer.headers["location"] == "/export/patient?changes=1&fields=id%2Clabel"
        narrow = await world.get(answer.headers["location"])
        assert set(orjson.loads(narrow.content.splitlines()[0])) == {"id", "label"}
        assert await answered(narrow.headers["recordgate-changes"], fields="id,label") == (
            200,
            "OK",
        )
        # What is asked in another way than it may be.
        for bad in (
            "/changes/patient", f"/changes/patient?after={token}&first=0",
            f"/changes/patient?after={token}&first=x",
            f"/changes/patient?after={token}&wait=never",
            f"/changes/patient?after={token}&filter=1",
            f"/changes/note?after={token}", "/export/note?changes=1",
            "/export/patient?changes=1&after=3",
            "/export/patient?changes=maybe", f"/changes/patient?after={token}&after={token}",
            f"/changes/patient?after={token}&fields=",
        ):  # fmt: skip
            assert code(await world.get(bad)) == (400, "BAD_USER_INPUT"), bad
        assert code(await world.get(f"/changes/patient?after={token}&first=10001")) == (
            400,
            "LIMIT_EXCEEDED",
        )
        assert code(await world.get(f"/changes/nobody?after={token}")) == (404, "NOT_FOUND")
        for verb in ("POST", "PUT", "DELETE"):
            answer = await world.rig.client.request(
                verb, f"/changes/patient?after={token}", headers=world.headers["admin"]
            )
            assert code(answer) == (405, "METHOD_NOT_ALLOWED")
        head = await world.rig.client.head(
            f"/changes/patient?after={token}&wait=20s", headers=world.headers["admin"]
        )
        assert (head.status_code, head.content) == (200, b"")
        # The database is put back to an earlier state, and its rows are numbered anew from there.
        world.do(
            f"UPDATE recordgate.change_log SET at = at - interval '1 second' WHERE type ="
            f" 'patient' AND id = {said.id}"
        )
        assert await answered(token) == (410, "GONE")

    follow(database, tmp_path, go)


def test_history_is_kept_as_long_as_the_contract_says_and_410_begins_anew(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_changes, "PRUNE", 0.1)
    monkeypatch.setattr(page, "MOST_BYTES", 2_000)

    async def go(world: Followed) -> None:
        one, late = world.by_role["admin"], world.follower("patient", "admin")
        await late.begin()
        # A page is bounded: a large record comes alone, and nothing is left out.
        world.do(f"UPDATE {PATIENTS} SET {LABEL} = repeat('x', 3000) WHERE id < 6")
        while len(one.told) < 5:
            before = len(one.told)
            await one.poll()
            assert len(one.told) <= before + 1
        await late.settle(position(database))
        world.do(
            "UPDATE recordgate.change_log SET at = at - interval '8 days' WHERE type = 'patient'"
        )
        begun = one.baselines
        world.do(f"UPDATE {PATIENTS} SET score = -1 WHERE id = 9")
        with psycopg.connect(database, autocommit=True) as conn:
            for _ in range(200):
                left = conn.execute(
                    b"SELECT count(*) FROM recordgate.change_log WHERE type = 'patient'"
                ).fetchone()
                if left == (1,):
                    break
                await asyncio.sleep(0.05)
            assert left == (1,)
        await one.settle(position(database))
        assert one.records == await one.truth()
        assert one.baselines == begun + 1  # its row was moved in time, so it is another history
        fresh = one.next
        await one.settle(position(database))
        assert (await world.get("/changes/patient", after=fresh)).status_code == 200

    follow(database, tmp_path, go)


def test_a_table_that_is_replaced_emptied_or_locked_loses_no_change(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_changes, "AGAIN", 0.2)

    def standing() -> list[Any]:
        with psycopg.connect(database) as conn:
            told = "SELECT type, code FROM recordgate.conditions WHERE sink = 'changes'"
            return conn.execute(told.encode()).fetchall()

    async def go(world: Followed) -> None:
        one = world.by_role["clerk"]
        world.do(f"TRUNCATE {PATIENTS}")
        await one.settle(position(database))
        assert one.records == {}
        # Another table in its place, with rows that the log of changes never told.
        world.do(
            f"CREATE TABLE public.fresh (LIKE {PATIENTS} INCLUDING ALL)",
            "INSERT INTO public.fresh (id, ward_code) SELECT i, 'c' FROM generate_series(100, 109)"
            " i",
            f'BEGIN; DROP TABLE {PATIENTS}; ALTER TABLE public.fresh RENAME TO "odd -- select";'
            f" COMMIT",
        )
        for _ in range(60):
            await one.poll(wait="0.2s")
            if len(one.records) == 10:
                break
        assert one.records == await one.truth()
        # It cannot be compared for a while: the others go on, and it says so rather than that
        # nothing changed.
        wards = world.follower("ward", "admin")
        await wards.begin()
        world.do(
            "ALTER TABLE recordgate.change_images ADD CONSTRAINT stuck CHECK (type <> 'patient')"
            " NOT VALID",
            f"UPDATE {PATIENTS} SET score = 1",
            "INSERT INTO wards VALUES ('z', true)",
        )
        await wards.settle(position(database))
        assert ("z",) in wards.records
        answer = await world.get("/changes/patient", "clerk", after=one.next)
        assert code(answer) == (503, "STORE_UNAVAILABLE")
        assert standing() == [("patient", "changes-not-kept")]
        world.do("ALTER TABLE recordgate.change_images DROP CONSTRAINT stuck")
        await one.settle(position(database))
        assert one.records == await one.truth()
        assert {r["score"] for r in one.records.values()} == {1.0}
        assert standing() == []
        assert one.baselines == 1

    follow(database, tmp_path, go)


def test_many_who_wait_cost_one_look_are_woken_at_once_and_are_bounded(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "MOST", 90)
    read = 0
    plain = page.page_statement

    def counted(*given: Any) -> Any:
        nonlocal read
        read += 1
        return plain(*given)

    monkeypatch.setattr(page, "page_statement", counted)

    async def go(world: Followed) -> None:
        token = world.by_role["admin"].next
        waiting = [
            asyncio.ensure_future(world.get("/changes/patient", after=token, wait="15s"))
            for _ in range(90)
        ]
        for _ in range(1000):
            if len(world.rig.app.state.change_news) == 90:
                break
            await asyncio.sleep(0.01)
        assert world.rig.app.state.drain.running == 0  # they take no place of those who work
        assert code(await world.get("/changes/patient", "clerk", after=world.by_role["clerk"].next,
        wait="1s")) == (
            503, "OVERLOADED",
        )  # fmt: skip
        world.do(f"UPDATE {PATIENTS} SET salary = 3 WHERE id = 1")
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 10)
        assert {a.status_code for a in answers} == {200}
        assert {orjson.loads(a.content.splitlines()[0])["record"]["salary"] for a in answers} == {
            "3.00"
        }
        assert read <= 10, read
        # A change that one may not see wakes them for nothing; the process's end does wake them.
        hidden = asyncio.ensure_future(
            world.get("/changes/patient", "clerk", after=world.by_role["clerk"].next, wait="15s")
        )
        await asyncio.sleep(0.2)
        world.do(f"UPDATE {PATIENTS} SET salary = 4 WHERE id = 1")
        await asyncio.sleep(0.7)
        assert not hidden.done()
        world.rig.app.state.change_news.end()
        answer = await asyncio.wait_for(hidden, 5)
        assert [orjson.loads(line)["op"] for line in answer.content.splitlines()] == ["next"]
        # Canonical away, before and while somebody waits, is said so, and not that nothing changed.
        world.rig.app.state.change_news.ending = False
        waits = asyncio.ensure_future(
            world.get("/changes/patient", after=world.by_role["admin"].next, wait="15s")
        )
        await asyncio.wait_for(waits, 10)  # it has something already
        token = orjson.loads(waits.result().content.splitlines()[-1])["next"]
        waits = asyncio.ensure_future(world.get("/changes/patient", after=token, wait="2s"))
        await asyncio.sleep(0.5)
        await world.rig.services.pool.close()
        assert code(await asyncio.wait_for(waits, 10)) == (503, "STORE_UNAVAILABLE")
        answer = await world.get("/changes/patient", after=token)
        assert code(answer) == (503, "STORE_UNAVAILABLE")
        assert "retry-after" in answer.headers

    follow(database, tmp_path, go)


def test_another_shape_of_what_is_kept_is_refused_until_the_worker_has_it(
    database: str, tmp_path: Path
) -> None:
    """A gateway whose contract filters rows in another way than what was kept tells nobody
    anything; nor does one without a worker."""

    async def main() -> None:
        async with hospital(database, tmp_path) as (rig, headers):
            asked = {"url": "/export/patient?changes=1", "headers": headers["admin"]}
            assert code(await rig.client.get(**asked)) == (503, "STORE_UNAVAILABLE")
            async with working(rig.services.contract, database, tmp_path):
                one = Follower(rig.client, "patient", ("id",), headers["clerk"])
                await one.begin()
            assert (await rig.client.get(**asked)).status_code == 200
            file = tmp_path / "hospital.odcs.yaml"
            text = file.read_text().replace(
                "clerk: {ward: {open: {eq: true}}}", "clerk: {ward: {open: {eq: false}}}"
            )
            file.write_text(text)
            changed = load_contract(file)
            async with working(changed, database, tmp_path):
                for _ in range(200):
                    if (await rig.client.get(**asked)).status_code == 503:
                        break
                    await asyncio.sleep(0.05)
                assert code(await rig.client.get(**asked)) == (503, "STORE_UNAVAILABLE")

    asyncio.run(main())
