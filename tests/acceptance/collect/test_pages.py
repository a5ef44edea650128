"""Sources on real HTTP and a real Postgres: every page is merged once, whatever the server does."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recordgate.collecting import books
from recordgate.collecting.addresses import Allowed
from stores.canonical.connect import connect
from stores.errors import RecordgateError
from tests.collect_world import Start, problem, stations
from tests.hostile_source import Asked, HostileSource, Reply


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
                "TRUNCATE stations, recordgate.landings, recordgate.sources,"
                " recordgate.import_batches"
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
        "SELECT s::text FROM recordgate.sources s UNION ALL SELECT l::text FROM"
        " recordgate.landings l"
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
