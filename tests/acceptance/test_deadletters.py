"""What was set aside is shown with its reasons, and can be tried again or thrown away."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from stores.canonical.connect import connect
from stores.canonical.dead_letters import Selection, count, discard, find, replay
from stores.canonical.importing import Mode, RowLimit
from stores.errors import InputError
from tests.acceptance.test_import_command import run
from tests.import_target import Target, new_target


@pytest.fixture(scope="module")
def module_target(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with new_target(postgres, tmp_path_factory.mktemp("letters")) as target:
        yield target


@pytest.fixture
def target(module_target: Target) -> Target:
    module_target.clean()
    return module_target


ITEMS = (
    "id,name,makerCode,price,seenAt,tags,extra,picture\n"
    '1,one,AB,1.50,2020-01-01 10:00:00+02,"[""a,b"",""{}""]","{""n"": 1.10}",aGk=\n'
    "2,two,CD,0.10,,,,\n"
    "3,x,,,,,,\n"
    "4\n"
    "5,fi\0ve,,,,,,\n"
)
ANY = RowLimit(percent=None, count=100)


def ids(target: Target, **selection: str) -> list[int]:
    with connect(target.url) as connection:
        return [d.id for d in find(connection, Selection(**selection), 100)]


def test_rows_are_replayed_whole_when_their_cause_is_mended(target: Target) -> None:
    target.load("item", ITEMS, max_rejects=ANY)
    first, second, third, ragged, nul = ids(target)
    target.load("maker", "code,name\nAB,x\n")
    done = replay(target.url, target.contract, Selection(kind="import"))
    assert done.cured == [first]
    assert done.still_bad == [second, third]
    assert set(done.impossible) == {ragged, nul}
    assert target.rows(
        "SELECT name, maker_code, price::text, extract(epoch FROM seen_at)::int, tags, extra::text, picture"
        " FROM items"
    ) == [("one", "AB", "1.50", 1577865600, ["a,b", "{}"], '{"n": 1.10}', b"hi")]
    assert target.rows("SELECT id, attempts FROM recordgate.dead_letters ORDER BY id") == [
        (second, 2), (third, 2), (ragged, 1), (nul, 1),
    ]  # fmt: skip
    target.load("maker", "code,name\nCD,y\n")
    assert replay(target.url, target.contract, Selection(ids=(second,))).cured == [second]
    assert replay(target.url, target.contract, Selection(ids=(second,))).impossible == {
        second: "there is no such dead letter"
    }


def test_a_replay_keeps_the_mode_of_its_batch(target: Target) -> None:
    target.load("item", "id,name,makerCode\n1,one,AB\n2,two,\n")
    target.load("maker", "code,name\nAB,x\n")
    target.do("INSERT INTO items (id, name) VALUES (1, 'theirs')")
    target.do("UPDATE recordgate.import_batches SET mode = 'insert'")
    assert len(replay(target.url, target.contract, Selection(type="item")).still_bad) == 1
    assert target.rows("SELECT name FROM items WHERE id = 1") == [("theirs",)]


def test_a_delete_is_replayed_as_a_delete(target: Target) -> None:
    target.load("item", "id,name,parentId\n1,one,\n2,two,1\n")
    target.load("item", "id\n1\n", mode=Mode.DELETE, max_rejects=ANY)
    target.do("DELETE FROM items WHERE id = 2")
    assert len(replay(target.url, target.contract, Selection(type="item")).cured) == 1
    assert target.rows("SELECT count(*) FROM items") == [(0,)]


def test_a_document_goes_back_to_the_backlog_of_its_sink(target: Target) -> None:
    for key in ("7", "8"):
        target.do(
            "INSERT INTO recordgate.dead_letters (kind, type, sink, key, code, reasons)"
            f" VALUES ('sink', 'item', 'search', '{key}', 'STORE_REFUSED', '[]')"
        )
    target.do("INSERT INTO recordgate.backlog (sink, type, key, lsn) VALUES ('search', 'item', '8', '0/1')")  # fmt: skip
    found = ids(target, sink="search")
    assert replay(target.url, target.contract, Selection(sink="search")).queued == found
    assert target.rows("SELECT key, lsn > '0/1' FROM recordgate.backlog ORDER BY key") == [
        ("7", True), ("8", True),
    ]  # fmt: skip
    assert ids(target) == []


def test_discard_takes_what_was_named_and_never_everything_by_chance(target: Target) -> None:
    first = target.load("item", ITEMS, max_rejects=ANY)
    target.load("maker", "code,name\nAB,x\nac,y\n")
    with connect(target.url) as connection:
        with pytest.raises(InputError):
            discard(connection, Selection())
        assert discard(connection, Selection(batch=first.batch)) == 5
        assert count(connection, Selection()) == 1


def test_the_commands(target: Target) -> None:
    target.file("items.csv", "id,name,price\n1,x,abc\n2,two,1\n")
    assert run(target, "import", "item", "items.csv").returncode == 3
    listed = json.loads(run(target, "deadletters", "list", "--type", "item", "--json").stdout)
    assert (listed["total"], listed["deadLetters"][0]["key"]) == (1, "1")
    number = str(listed["deadLetters"][0]["id"])
    shown = run(target, "deadletters", "show", number)
    assert b"TOO_SHORT" in shown.stdout
    assert b"abc" in shown.stdout
    assert run(target, "deadletters", "replay", number).returncode == 3
    assert run(target, "deadletters", "replay").returncode == 1
    assert run(target, "deadletters", "discard", number).stdout == b"1 discarded\n"
    assert run(target, "deadletters", "show", number).returncode == 1
