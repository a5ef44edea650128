"""The feed tells of each record once a batch what happened to it in all, and of too many that they
were many."""

from __future__ import annotations

import pytest

from sync import feed
from sync.changes import Change, ChangeOp
from sync.feed import Feed
from tests.library_world import AUTHOR, LIBRARY

COLUMNS = tuple(AUTHOR.key)


def row(key: str) -> dict[str, str | None]:
    return dict.fromkeys(COLUMNS, key)


def change(op: ChangeOp, new: str = "", old: str = "") -> Change:
    return Change(AUTHOR.schema, AUTHOR.table, op, row(new) if new else {}, row(old) if old else {})


INSERT, UPDATE, DELETE = ChangeOp.INSERT, ChangeOp.UPDATE, ChangeOp.DELETE


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([change(INSERT, "a")], {"a": "created"}),
        ([change(INSERT, "a"), change(UPDATE, "a")], {"a": "created"}),
        ([change(UPDATE, "a"), change(DELETE, old="a")], {"a": "deleted"}),
        ([change(DELETE, old="a"), change(INSERT, "a")], {"a": "updated"}),
        ([change(UPDATE, "b", "a")], {"a": "deleted", "b": "created"}),
        ([change(UPDATE, "a", "a")], {"a": "updated"}),
    ],
)
def test_a_record_is_told_once_with_what_came_of_it(
    changes: list[Change], told: dict[str, str]
) -> None:
    made = Feed(LIBRARY)
    made.note(changes)
    made.touch(AUTHOR.name, ["a", "c"])
    found = {key: kind for (_, key), kind in made.noted().items()}
    assert found == {**({} if "a" in told else {"a": "updated"}), **told, "c": "updated"}


def test_too_many_are_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MOST_KEYS", 10)
    made = Feed(LIBRARY)
    made.touch(AUTHOR.name, map(str, range(11)))
    assert made.noted() == {(AUTHOR.name, None): "refresh"}


def test_changes_of_other_tables_are_not_told() -> None:
    made = Feed(LIBRARY)
    made.note([Change("public", "nothing", INSERT, row("a"))])
    assert made.noted() == {}
