"""Types that are set aside: when they are tried again, and what a position says of them
meanwhile."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from stores import local_state
from stores.errors import NotReadable
from stores.protocols import Position, Withheld
from sync.aside import LATEST, PROVEN, Aside


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failed(name: str) -> NotReadable:
    return NotReadable(name, "no such column (SQLSTATE 42703)", hint="mend it")


def test_a_type_is_tried_again_ever_later_and_named_with_its_reason() -> None:
    clock = Clock()
    aside = Aside("search", clock)
    pauses = []
    for _ in range(12):
        condition = aside.add(failed("city"))
        began = clock.now
        while aside.due() is None:
            clock.now += 0.1
        pauses.append(clock.now - began)
    assert pauses[0] <= 1.2
    assert LATEST / 2 <= pauses[-1] <= LATEST + 0.2
    assert condition.identity == ("search", "city", "type-not-readable")
    assert "city" in condition.message
    assert "SQLSTATE 42703" in condition.message
    assert condition.hint == "mend it"
    assert aside.reasons() == {"city": "no such column (SQLSTATE 42703)"}
    # One that fails as soon as it is back is not tried at once.
    aside.back("city")
    assert aside.types == frozenset()
    aside.add(failed("city"))
    clock.now += 2.0
    assert aside.due() is None
    aside.back("city")
    clock.now += PROVEN + 1
    aside.add(failed("city"))
    clock.now += 1.1
    assert aside.due() == "city"


def test_a_position_holds_for_a_type_up_to_where_it_was_set_aside() -> None:
    aside = Aside("search")
    old = Position("s", 100, 10.0)
    aside.add(failed("city"))
    withheld = aside.withheld((), old)
    assert withheld == (Withheld("city", 100, 10.0),)
    aside.published(Position("s", 200, 20.0, withheld))
    # It does not move while the type waits, also where it is back and fails again.
    assert aside.withheld((), Position("s", 200, 20.0, withheld)) == withheld
    aside.back("city")
    aside.add(failed("city"))
    assert aside.withheld((), Position("s", 200, 20.0, withheld)) == withheld
    aside.back("city")
    assert aside.withheld((), Position("s", 200, 20.0, withheld)) == ()


def test_a_type_that_must_be_loaded_is_not_believed_at_all_until_it_is() -> None:
    aside = Aside("search")
    assert not aside.trusts({"city"})
    aside.add(failed("city"))
    assert aside.trusts({"city"})
    assert not aside.trusts({"city", "country"})
    withheld = aside.withheld({"city"}, None)
    assert withheld == (Withheld("city", 0, 0.0),)
    aside.published(Position("s", 200, 20.0, withheld))
    aside.back("city")  # and now it is loaded, while the others go on
    assert aside.trusts({"city"})
    assert aside.withheld({"city"}, Position("s", 200, 20.0, withheld)) == withheld
    assert aside.withheld((), Position("s", 200, 20.0, withheld)) == ()


def test_a_position_of_several_types_is_the_least() -> None:
    position = Position("s", 300, 30.0, (Withheld("a", 100, 20.0), Withheld("b", 200, 10.0)))
    assert position.of(["c"]) is position
    assert position.of(["a", "c"]) == Position("s", 100, 20.0)
    assert position.of(["a", "b"]) == Position("s", 100, 10.0)


def test_the_files_of_an_older_version_are_taken_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    with sqlite3.connect(file) as old:
        old.executescript(
            "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
            "INSERT INTO meta VALUES ('contract', 'c'), ('store', 'sqlite'), ('format', '2');"
            "CREATE TABLE position (one INTEGER PRIMARY KEY CHECK (one = 1), system TEXT NOT NULL,"
            " lsn INTEGER NOT NULL, as_of REAL NOT NULL);"
            "INSERT INTO position VALUES (1, 's', 7, 1.5);"
        )
    old.close()
    connection = local_state.connect(file)
    local_state.claim(connection, "c", "sqlite")
    assert local_state.get_position(connection) == Position("s", 7, 1.5)
    position = Position("s", 8, 2.5, (Withheld("city", 7, 1.5),))
    local_state.set_position(connection, position)
    assert local_state.get_position(connection) == position
    # A process of the older version goes on writing, and says what it always did.
    connection.execute(
        "INSERT INTO position VALUES (1, 's', 9, 3.5) ON CONFLICT (one) DO UPDATE SET lsn = 9"
    )
    connection.close()
