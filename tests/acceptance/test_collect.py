"""Sources on real HTTP and a real Postgres: every page is merged once, whatever the server does."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from recordgate.collecting import books
from recordgate.collecting.addresses import Allowed
from recordgate.collecting.collector import watch
from recordgate.collecting.probing import probed
from recordgate.collecting.proposing import proposal
from recordgate.collecting.replaying import replay
from stores.canonical.connect import connect
from stores.errors import FencedError, RecordgateError, SourceError
from tests.collect_world import CollectWorld, stations
from tests.hostile_source import Asked, HostileSource, Reply, hostile_source

Start = Callable[..., CollectWorld]


@pytest.fixture
def source() -> Iterator[HostileSource]:
    with hostile_source(HostileSource(stations(95))) as found:
        yield found


@pytest.fixture
def start(database: str, tmp_path: Path, source: HostileSource) -> Start:
    def started(pages: dict[str, Any] | None = None, **more: Any) -> CollectWorld:
        http = {
            "url": f"{source.url}/v1/stations",
            "records": "$.data[*]",
            "pages": pages or {"by": "cursor", "next": "$.meta.next", "total": "$.meta.total"},
            **more.pop("http", {}),
        }
        return CollectWorld(database, tmp_path, {"http": http, "every": "1m", **more})

    return started


def problem(world: CollectWorld) -> SourceError:
    with pytest.raises(RecordgateError) as raised:
        world.walk()
    assert isinstance(raised.value, SourceError)
    return raised.value


def test_each_way_of_paging_gives_every_record_once(start: Start, source: HostileSource) -> None:
    world = start()
    ways: list[dict[str, Any]] = [
        {"by": "cursor", "next": "$.meta.next", "param": "cursor"},
        {"by": "next", "next": "$.meta.link"},
        {"by": "link"},
        {"by": "offset", "total": "$.meta.total"},
        {"by": "page", "sizeParam": "per", "size": 10},
    ]
    for pages in ways:
        world.do(
            "TRUNCATE stations, recordgate.landings, recordgate.sources, recordgate.import_batches"
        )
        source.asked.clear()
        world.at = start(pages).at
        outcome = world.walk()
        assert (outcome.read, outcome.inserted, len(world.ids())) == (95, 95, 95), pages
        assert world.merged_pages() == len(source.asked), pages
        assert world.state == ("ok", "", 0)
    assert source.asked[-1].query == {"page": "11", "per": "10"}


def test_a_second_walk_changes_nothing_and_asks_only_since(
    start: Start, source: HostileSource
) -> None:
    world = start(since={"field": "$.updatedAt", "param": "since", "overlap": "10s"})
    assert world.walk().inserted == 95
    source.records[3]["name"] = "late"  # A commit that came late, within the overlap or not.
    source.records[90]["name"] = "later"
    source.records.append(stations(1, 96)[0])
    source.asked.clear()
    again = world.walk()
    assert source.asked[0].query["since"] == "2024-01-01T00:01:25Z"
    assert (again.inserted, again.updated, again.unchanged) == (1, 1, 10)


def test_values_are_made_clean_on_the_way_in(start: Start, source: HostileSource) -> None:
    source.records = [
        {"key": "1", "label": " a ", "pos": {"feet": 100}, "on": "31/12/2020"},
        {"key": "2", "label": "N/A", "pos": {}, "on": None},
        {"key": "x", "label": "bad", "pos": {"feet": 1}, "on": "never"},
    ]
    world = start(
        map={
            "id": "key",
            "name": {"from": "label", "trim": True, "nulls": ["N/A"], "default": "unnamed"},
            "height": {"from": "pos.feet", "times": "0.3048"},
            "opened": {"from": "on", "date": "%d/%m/%Y"},
        }
    )
    outcome = world.walk()
    assert outcome.rejected == 1
    assert world.rows("SELECT id, name, height, opened::text FROM stations ORDER BY id") == [
        (1, "a", 30.48, "2020-12-31"),
        (2, "unnamed", None, None),
    ]
    assert {
        r["code"] for (rs,) in world.rows("SELECT reasons FROM recordgate.dead_letters") for r in rs
    } == {"INVALID_TYPE"}


def test_odd_json_spoils_its_own_rows_alone(start: Start, source: HostileSource) -> None:
    odd = (
        '{"data": [{"id": 1, "name": "a\\u0000b"}, {"id": 2, "n\\u0000": 1, "name": "fine"}, {"id": 1e999999},'
        ' {"id": 3, "height": 1e-400000, "'
        + "x"
        * 5000
        + '": 0}, {"id": 4, "name": {"a": [null]}},'
        ' {"id": null}, {"id": ' + "9" * 4000 + "}]}"
    )
    source.answer = lambda asked, nth: Reply(200, odd.encode())
    world = start(
        {"by": "none"}, map={"id": "id", "name": "name", "height": {"from": "height", "times": "2"}}
    )
    outcome = world.walk()
    assert outcome.read == 7
    assert {2, 4} <= set(world.ids()) <= {2, 3, 4}
    assert outcome.rejected == 7 - len(world.ids())
    source.answer = lambda asked, nth: Reply(200, b'{"data": [{"id": ' + b"9" * 9000 + b"}]}")
    with pytest.raises(RecordgateError):
        world.walk()
    assert world.state[0] in ("ok", "late", "down")


# What servers do ----------------------------------------------------------------------------------


def html(asked: Asked, nth: int) -> Reply | None:
    return Reply(200, b"<html>log in</html>", {"Content-Type": "text/html"}) if nth == 7 else None


def cut(asked: Asked, nth: int) -> Reply | None:
    return (
        Reply(200, b'{"data": [{"id": 1', {"Content-Type": "application/json"})
        if nth == 7
        else None
    )


def broken_off(asked: Asked, nth: int) -> Reply | None:
    return (
        Reply(200, b'{"data": [', {"Content-Type": "application/json"}, cut=100)
        if nth >= 7
        else None
    )


def bomb(asked: Asked, nth: int) -> Reply | None:
    packed = gzip.compress(b" " * (64 << 20))
    return Reply(200, packed, {"Content-Encoding": "gzip"}) if nth == 7 else None


def half_gzip(asked: Asked, nth: int) -> Reply | None:
    packed = gzip.compress(json.dumps({"data": stations(9)}).encode())
    return Reply(200, packed[:-20], {"Content-Encoding": "gzip"}) if nth >= 7 else None


def loopback(asked: Asked, nth: int) -> Reply | None:
    return Reply(302, b"", {"Location": "http://localhost:1/secret"}) if nth == 7 else None


def repeats(asked: Asked, nth: int) -> Reply | None:
    if nth < 7:
        return None
    page = {"data": stations(10), "meta": {"next": f"{nth}"}}
    return Reply(200, json.dumps(page).encode())


def goes_back(asked: Asked, nth: int) -> Reply | None:
    if nth < 7:
        return None
    page = {"data": stations(3, 1000 * nth), "meta": {"next": "10"}}
    return Reply(200, json.dumps(page).encode())


def nothing_for_ever(asked: Asked, nth: int) -> Reply | None:
    return (
        Reply(200, json.dumps({"data": [], "meta": {"next": f"e{nth}"}}).encode())
        if nth >= 7
        else None
    )


def busy(asked: Asked, nth: int) -> Reply | None:
    return Reply(429, b"", {"Retry-After": "600"}) if nth >= 7 else None


def not_there(asked: Asked, nth: int) -> Reply | None:
    return Reply(404, b"{}") if nth == 7 else None


def no_records(asked: Asked, nth: int) -> Reply | None:
    return Reply(200, b'{"error": "try later"}') if nth == 7 else None


BAD = {
    "NOT_JSON": [html, cut],
    "SOURCE_DOWN": [broken_off, half_gzip],
    "PAGE_TOO_LARGE": [bomb],
    "ADDRESS_REFUSED": [loopback],
    "PAGES_LOOP": [repeats, goes_back, nothing_for_ever],
    "SOURCE_BUSY": [busy],
    "SOURCE_REFUSED": [not_there],
    "BAD_PAGE": [no_records],
}


def test_whatever_a_server_answers_is_bounded_and_told_and_nothing_is_lost(
    start: Start, source: HostileSource
) -> None:
    world = start()
    for code, kinds in BAD.items():
        for kind in kinds:
            source.answer = lambda asked, nth: None
            world.do(
                "TRUNCATE stations, recordgate.landings, recordgate.sources, recordgate.import_batches"
            )
            source.asked.clear()
            source.answer = kind
            begun = time.monotonic()
            error = problem(world)
            assert error.detail_code == code, kind
            assert time.monotonic() - begun < 30, kind
            assert len(source.asked) < 120, kind
            # What came whole is there, the rest is asked for when the server is well again.
            assert world.ids()[:60] == list(range(1, 61)), kind
            state, told, failures = world.state
            assert (state in ("late", "down"), told, failures) == (True, code, 1), kind
            if kind is busy:
                assert world.rows(
                    "SELECT next_at > now() + interval '9 minutes' FROM recordgate.sources"
                ) == [(True,)]
            before = world.merged_pages()
            source.answer = lambda asked, nth: None
            if kind not in (repeats, goes_back, nothing_for_ever):
                source.asked.clear()
                assert world.walk().pages == 10 - before == len(source.asked), kind
            else:
                with connect(world.url) as connection:
                    books.reset(connection, "station")
                world.walk()
            assert set(range(1, 96)) <= set(world.ids()), kind
            assert world.state == ("ok", "", 0)
    assert world.rows("SELECT count(*) FROM recordgate.conditions") == [(0,)]


def test_the_addresses_of_this_machine_are_not_asked_unless_allowed(
    start: Start, source: HostileSource
) -> None:
    world = start()
    world.at = type(world.at)(world.url, world.at.contract, world.at.data_dir, Allowed())
    assert problem(world).detail_code == "ADDRESS_REFUSED"
    assert source.asked == []


def test_a_token_is_had_kept_and_had_again_when_it_ends_midway(
    start: Start, source: HostileSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLLECT_ID", "me")
    (tmp_path / "secret").write_text("s3cret\n")
    tokens: list[str] = []

    def answer(asked: Asked, nth: int) -> Reply | None:
        if asked.path == "/token":
            assert asked.headers["authorization"].startswith("Basic ")
            assert b"client_credentials" in asked.body
            tokens.append(f"t{len(tokens)}")
            return Reply(200, json.dumps({"access_token": tokens[-1], "expires_in": 3600}).encode())
        ended = asked.query.get("cursor") == "50" and tokens[-1] == "t0"
        good = asked.headers.get("authorization") == f"Bearer {tokens[-1]}" and not ended
        return None if good else Reply(401, b"{}")

    source.answer = answer
    auth = {
        "by": "oauth2", "tokenUrl": f"{source.url}/token", "client": "${COLLECT_ID}",
        "secret": f"file:{tmp_path}/secret",
    }  # fmt: skip
    world = start(http={"auth": auth})
    assert world.walk().inserted == 95
    assert tokens == ["t0", "t1"]


def test_a_key_goes_as_header_or_parameter_and_never_shows(
    start: Start, source: HostileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECT_KEY", "k3y-value")
    source.answer = lambda asked, nth: (
        None if asked.query.get("key") == "k3y-value" else Reply(403, b"")
    )
    world = start(http={"auth": {"by": "apiKey", "key": "env:COLLECT_KEY", "param": "key"}})
    assert world.walk().inserted == 95
    source.answer = lambda asked, nth: Reply(403, b"")
    error = problem(world)
    kept = world.rows(
        "SELECT s::text FROM recordgate.sources s UNION ALL SELECT l::text FROM recordgate.landings l"
    )
    assert "k3y-value" not in str(kept) + str(error)


def test_a_server_that_is_led_to_is_not_told_who_we_are(
    start: Start, source: HostileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECT_TOKEN", "t0ken")

    def led_away(asked: Asked, nth: int) -> Reply | None:
        here = asked.headers["host"].startswith("127.")
        target = f"http://localhost:{source.port}/elsewhere?cursor=10"
        return Reply(307, b"", {"Location": target}) if here and nth == 2 else None

    source.answer = led_away
    world = start(http={"auth": {"by": "bearer", "token": "env:COLLECT_TOKEN"}})
    world.at = replace(world.at, allowed=Allowed.parse(["127.0.0.1", "localhost"]))
    world.walk()
    told = {a.headers["host"].split(":")[0]: a.headers.get("authorization") for a in source.asked}
    assert told == {"127.0.0.1": "Bearer t0ken", "localhost": None}


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
