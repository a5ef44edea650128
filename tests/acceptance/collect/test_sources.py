"""What becomes of a source: what people do with it, who holds it, what it deletes, when it is late,
and its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from recordgate.collecting import books
from recordgate.collecting.addresses import Allowed
from recordgate.collecting.collector import watch
from recordgate.collecting.probing import probed
from recordgate.collecting.proposing import proposal
from recordgate.collecting.replaying import replay
from stores.canonical.connect import connect
from stores.errors import FencedError, RecordgateError
from tests.collect_world import CollectWorld, Start, problem, stations
from tests.hostile_source import Asked, HostileSource, Reply

# What people do -----------------------------------------------------------------------------------


def test_what_landed_is_merged_again_as_the_contract_maps_it_now(start: Start) -> None:
    world = start(map={"id": "id"})
    world.walk()
    assert world.rows("SELECT count(name) FROM stations") == [(0,)]
    world = start(map={"id": "id", "name": {"from": "name", "trim": True}})
    with connect(world.url) as connection:
        numbers = [n for (n,) in world.rows("SELECT id FROM recordgate.landings ORDER BY id")]
        done = replay(world.at, connection, numbers)
        assert sum(d["updated"] for d in done.values()) == 95
        with pytest.raises(RecordgateError, match="not on this host"):
            replay(world.at, connection, [999_999])
    assert world.rows("SELECT count(name) FROM stations") == [(95,)]


def test_a_patch_is_proposed_for_another_shape(start: Start, source: HostileSource) -> None:
    world = start(drift={"added": "freeze"})
    world.walk()
    for record in source.records:
        record["open now"] = True
    assert "open now" in problem(world).message
    with connect(world.url) as connection:
        assert "- {name: 'open now', logicalType: boolean}" in proposal(
            world.at, connection, "station"
        )


def test_a_probe_prints_a_block_that_collects(start: Start, source: HostileSource) -> None:
    block = yaml.safe_load(probed(f"{source.url}/v1", Allowed.parse(["127.0.0.1"])))[0]["value"]
    assert block["http"]["pages"] == {"by": "link", "total": "$.meta.total"}
    world = start(http=block["http"])
    assert world.walk().inserted == 95


def test_a_source_is_read_again_from_a_mark_or_its_beginning(
    start: Start, source: HostileSource
) -> None:
    world = start(since={"field": "updatedAt", "param": "since"})
    world.walk()
    with connect(world.url) as connection:
        books.begin_at(connection, "station", "2024-01-01T00:01:00Z")
        source.asked.clear()
        assert world.walk().read == 36
        assert source.asked[0].query["since"] == "2024-01-01T00:01:00Z"
        books.reset(connection, "station")
        assert world.walk().read == 95
        with pytest.raises(RecordgateError, match="no source"):
            books.reset(connection, "nobody")


def test_a_database_without_tables_is_a_clear_error(start: Start, tmp_path: Path) -> None:
    world = start()
    world.do("DROP TABLE recordgate.sources")
    told = subprocess.run(
        [sys.executable, "-m", "recordgate", "--config", str(world.settings()), "collect", "status"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert told.returncode == 1
    assert "run `recordgate apply`" in told.stderr
    assert "Traceback" not in told.stderr


# Leases -------------------------------------------------------------------------------------------


def test_a_collector_that_stalled_commits_nothing_any_more(
    start: Start, source: HostileSource
) -> None:
    world = start()
    taken: list[str] = []

    def stalled(asked: Asked, nth: int) -> Reply | None:
        if nth == 5 and not taken:
            taken.append("")
            # While the answer is under way, its lease ends and another collector has the source.
            world.do("UPDATE recordgate.sources SET leased_until = now() - interval '1 s'")
            assert world.walk().inserted == 70
        return None

    source.answer = stalled
    with pytest.raises(FencedError):
        world.walk()
    assert world.ids() == list(range(1, 96))
    assert world.merged_pages() == 10
    assert world.state == ("ok", "", 0)


def test_a_paused_source_is_left_alone_and_its_walk_goes_on_when_resumed(
    start: Start, source: HostileSource
) -> None:
    world = start()

    def paused(asked: Asked, nth: int) -> Reply | None:
        if nth == 5:
            with connect(world.url) as connection:
                books.pause(connection, "station")
        return None

    source.answer = paused
    with pytest.raises(FencedError):
        world.walk()
    assert world.state[0] == "paused"
    with connect(world.url) as connection:
        assert books.take(connection, ["station"], "x") is None
        books.resume(connection, "station")
    source.answer = lambda asked, nth: None
    world.walk()
    assert world.ids() == list(range(1, 96))


# Deletes ------------------------------------------------------------------------------------------


def test_what_a_whole_walk_did_not_have_is_deleted_within_its_limit(
    start: Start, source: HostileSource
) -> None:
    world = start(deletes={"by": "full"}, maxDeletes="10%")
    world.walk()
    world.do("INSERT INTO stations (id, name) VALUES (900, 'of nobody')")
    del source.records[10:15]
    outcome = world.walk()
    assert (outcome.deleted, outcome.incomplete) == (6, "")
    assert world.ids() == [*range(1, 11), *range(16, 96)]
    del source.records[20:40]
    assert problem(world).detail_code == "REFUSED"
    assert len(world.ids()) == 90
    # Nothing of it: an answer without any record deletes nothing, either.
    kept, source.records = source.records, []
    assert problem(world).detail_code == "REFUSED"
    source.records = kept + stations(20, 26)
    world.walk()
    assert len(world.ids()) == 90


def test_a_walk_that_was_not_whole_deletes_nothing(start: Start, source: HostileSource) -> None:
    world = start(deletes={"by": "full"})
    world.walk()
    del source.records[10:15]

    def fewer(asked: Asked, nth: int) -> Reply | None:
        reply = source.page(Asked(asked.path, asked.query, {}, b""))
        page = json.loads(reply.body)
        page["meta"]["total"] = 95
        return Reply(200, json.dumps(page).encode())

    source.answer = fewer
    outcome = world.walk()
    assert outcome.deleted == 0
    assert "95" in outcome.incomplete
    assert len(world.ids()) == 95
    assert world.rows("SELECT code FROM recordgate.conditions") == [("source-incomplete",)]
    source.answer = lambda asked, nth: None
    assert world.walk().deleted == 5
    assert world.rows("SELECT code FROM recordgate.conditions") == []


def test_a_lost_landing_keeps_a_walk_from_deleting(start: Start, source: HostileSource) -> None:
    world = start(deletes={"by": "full"})

    def loses(asked: Asked, nth: int) -> Reply | None:
        if nth == 9:
            for (file,) in world.rows("SELECT file FROM recordgate.landings LIMIT 1"):
                Path(file).unlink()
        return None

    world.do("INSERT INTO stations (id, name) VALUES (900, 'of nobody')")
    source.answer = loses
    outcome = world.walk()
    assert "not on this host" in outcome.incomplete
    assert len(world.ids()) == 96


def test_a_field_says_which_records_are_deleted(start: Start, source: HostileSource) -> None:
    world = start(deletes={"by": "field", "field": {"gone": True}})
    world.walk()
    source.records = [{"id": 5, "gone": True}, {"id": 6, "gone": False, "name": "six"}, {"id": 7, "gone": True},
                      {"id": 7, "name": "seven again"}]  # fmt: skip
    outcome = world.walk()
    assert outcome.deleted == 1
    assert world.rows("SELECT id, name FROM stations WHERE id < 8 AND id > 4 ORDER BY id") == [
        (6, "six"),
        (7, "seven again"),
    ]


# Down, late, drifted ------------------------------------------------------------------------------


def test_a_source_that_is_down_is_told_once_and_its_records_stay(
    start: Start, source: HostileSource
) -> None:
    world = start(staleAfter="1s")
    world.walk()
    source.answer = lambda asked, nth: Reply(404, b"")
    problem(world)
    since = world.rows("SELECT code, type, since FROM recordgate.conditions")
    assert since[0][:2] == ("source-refused", "station")
    problem(world)
    assert world.rows("SELECT code, type, since FROM recordgate.conditions") == since
    assert len(world.ids()) == 95
    source.answer = lambda asked, nth: None
    world.walk()
    assert world.rows("SELECT code FROM recordgate.conditions") == []
    world.do("UPDATE recordgate.sources SET as_of = now() - interval '1 hour'")
    with connect(world.url) as connection:
        watch(connection, world.at)
        watch(connection, world.at)
    assert world.state[0] == "late"
    assert world.rows("SELECT code FROM recordgate.conditions") == [("source-late",)]


def test_a_source_of_another_shape_freezes_and_says_where(
    start: Start, source: HostileSource
) -> None:
    world = start()
    world.walk()
    for record in source.records:
        del record["height"]
    error = problem(world)
    assert error.detail_code == "DRIFT"
    assert "'height'" in error.message
    assert world.state[0] == "drifted"
    assert world.rows("SELECT count(*) FROM stations WHERE height IS NULL") == [(0,)]
    with connect(world.url) as connection:
        assert books.take(connection, ["station"], "x") is None
        books.resume(connection, "station")
    world.walk()
    # The field is gone: what it gave stays.
    assert world.rows("SELECT count(*) FROM stations WHERE height IS NULL") == [(0,)]


def test_a_value_of_another_kind_is_set_aside_and_its_record_stays(
    start: Start, source: HostileSource
) -> None:
    world = start()
    world.walk()
    source.records[4]["name"] = 12
    source.records[5]["name"] = "new"
    outcome = world.walk()
    assert (outcome.rejected, outcome.updated) == (1, 1)
    assert world.rows("SELECT name FROM stations WHERE id IN (5, 6) ORDER BY id") == [
        ("station 5",),
        ("new",),
    ]
    assert world.rows("SELECT code, payload->'values'->>'name' FROM recordgate.dead_letters") == [
        ("DRIFT", "12")
    ]


# Files --------------------------------------------------------------------------------------------


def test_files_are_imported_once_each_and_again_when_they_change(
    database: str, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    world = CollectWorld(
        database, tmp_path, {"file": {"path": f"{folder}/*.csv"}, "map": {"id": "key"}}
    )
    assert problem(world).detail_code == "SOURCE_DOWN"

    def write(name: str, text: str) -> None:
        (folder / name).write_text(text)
        os.utime(folder / name, (time.time() - 60 - len(text),) * 2)

    write("a.csv", "key,name\n1,one\n2,two\n")
    write("b.csv", "key,name\n3,three\nx,bad\n")
    outcome = world.walk()
    assert (outcome.pages, outcome.inserted, outcome.rejected) == (2, 3, 1)
    assert world.walk().pages == 0
    write("b.csv", "key,name\n3,drei\n")
    (folder / "c.csv").write_text("key,name\n9,being written\n")  # just now
    outcome = world.walk()
    assert (outcome.pages, outcome.updated) == (1, 1)
    assert world.ids() == [1, 2, 3]


def test_files_that_are_the_whole_delete_what_they_lack(database: str, tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    world = CollectWorld(
        database, tmp_path, {"file": {"path": str(path)}, "deletes": {"by": "full"}}
    )
    path.write_text("id,name\n1,one\n2,two\n3,three\n")
    os.utime(path, (time.time() - 60,) * 2)
    world.walk()
    path.write_text("id,name\n1,one\n3,drei\n")
    os.utime(path, (time.time() - 50,) * 2)
    outcome = world.walk()
    assert (outcome.deleted, outcome.updated, world.ids()) == (1, 1, [1, 3])


def test_landings_are_their_owners_alone(start: Start) -> None:
    world = start()
    world.walk()
    for (file,) in world.rows("SELECT file FROM recordgate.landings"):
        assert Path(file).stat().st_mode & 0o077 == 0
        assert Path(file).parent.stat().st_mode & 0o077 == 0
    folder = Path(file).parent
    assert list(folder.glob("*.ndjson")) == []
    left, fresh = folder / "merge-1.ndjson", folder / "merge-2.ndjson"
    for path in (left, fresh):
        path.write_text("of a collector that was killed, or of one that works")
    os.utime(left, (time.time() - 7200,) * 2)
    with connect(world.url) as connection:
        watch(connection, world.at)
    assert (left.exists(), fresh.exists(), Path(file).exists()) == (False, True, True)
    fresh.unlink()
    world.at = type(world.at)(world.url, world.at.contract, world.at.data_dir, Allowed(), keep=0)
    with connect(world.url) as connection:
        watch(connection, world.at)
    assert world.rows("SELECT count(*) FROM recordgate.landings") == [(0,)]
    assert list(Path(file).parent.iterdir()) == []
