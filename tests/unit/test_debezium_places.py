"""Where the topics are read on from: which missing offsets are a gap, and which are not."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from stores.errors import GapError
from sync.sources.debezium.places import METADATA, Checkpoint, go_on, mark_of

TRANSACTIONS, SHOP, OTHER = "p.transaction", "p.public.shop", "p.public.other"
IDS = {TRANSACTIONS: "id-t", SHOP: "id-s"}


class At(NamedTuple):
    topic: str
    partition: int = 0


class Offset(NamedTuple):
    offset: int
    metadata: str


def stored(offset: int, topic_id: str, *marks: str, system: str = "db") -> Offset:
    return Offset(offset, Checkpoint(topic_id, system, 7, marks).text())


def resumed(
    committed: dict[At, Offset | None],
    *,
    starts: dict[At, int] | None = None,
    ids: dict[str, str] | None = None,
    missing: set[str] | None = None,
) -> dict[At, int]:
    begin: Any = {p: (starts or {}).get(p, 0) for p in committed}
    end = dict.fromkeys(committed, 100)
    return go_on("group", "db", committed, begin, end, IDS if ids is None else ids, missing or ())


def marks(**ids: str) -> list[str]:
    return [mark_of(t, i) for t, i in {TRANSACTIONS: "id-t", SHOP: "id-s", **ids}.items()]


def test_a_topic_that_was_seen_and_not_committed_is_read_from_its_beginning() -> None:
    """It was made after the first start; another topic's offset, committed at the end, names it."""
    at = resumed({At(TRANSACTIONS): stored(5, "id-t", *marks()), At(SHOP): None})
    assert at == {At(TRANSACTIONS): 5, At(SHOP): 0}


def test_a_partition_that_had_no_record_yet_does_not_make_its_topic_another() -> None:
    committed = {
        At(TRANSACTIONS): stored(5, "id-t", *marks()),
        At(SHOP, 0): None,
        At(SHOP, 1): stored(3, "id-s", *marks()),
        At(SHOP, 2): None,
    }
    assert resumed(committed) == {
        **dict.fromkeys(committed, 0),
        At(TRANSACTIONS): 5,
        At(SHOP, 1): 3,
    }
    # Also where neither brokers nor marks know of ids.
    old = [mark_of(TRANSACTIONS), mark_of(SHOP)]
    committed = {p: found and stored(found.offset, "", *old) for p, found in committed.items()}
    assert resumed(committed, ids={TRANSACTIONS: "", SHOP: ""})[At(SHOP, 0)] == 0


def test_a_topic_that_was_never_seen_is_read_from_its_beginning() -> None:
    seen = [mark_of(TRANSACTIONS, "id-t")]
    assert resumed({At(TRANSACTIONS): stored(5, "id-t", *seen), At(SHOP): None})[At(SHOP)] == 0


@pytest.mark.parametrize(
    "committed",
    [
        {At(TRANSACTIONS): stored(5, "id-t", *marks()), At(SHOP): None},
        {At(TRANSACTIONS): stored(5, "id-t", mark_of(TRANSACTIONS), mark_of(SHOP)), At(SHOP): None},
        {At(TRANSACTIONS): stored(5, "id-t", *marks()), At(SHOP): stored(3, "id-s", *marks())},
        {At(TRANSACTIONS): stored(5, "id-t", *marks()), At(SHOP): None, At(SHOP, 1): None},
    ],
    ids=["forgotten", "forgotten, no ids in the marks", "kept", "two partitions"],
)
def test_a_topic_that_was_made_again_is_a_gap(committed: dict[At, Offset | None]) -> None:
    with pytest.raises(GapError, match="shop was deleted and created again"):
        resumed(committed, ids={**IDS, SHOP: "another"})


def test_a_topic_that_is_gone_is_a_gap_whether_or_not_it_was_committed() -> None:
    committed: dict[At, Offset | None] = {
        At(TRANSACTIONS): stored(5, "id-t", *marks(), mark_of(OTHER, "id-o"))
    }
    with pytest.raises(GapError, match="other was deleted"):
        resumed(committed, missing={OTHER})
    assert resumed(committed, missing={"p.public.new"}) == {At(TRANSACTIONS): 5}


def test_what_was_removed_before_it_was_read_is_a_gap() -> None:
    committed: dict[At, Offset | None] = {
        At(TRANSACTIONS): stored(5, "id-t", *marks()), At(SHOP): stored(3, "id-s", *marks()), At(SHOP, 1): None,
    }  # fmt: skip
    assert resumed(committed, starts={At(SHOP): 3})[At(SHOP)] == 3
    for lost in ({At(SHOP): 4}, {At(SHOP, 1): 2}):
        with pytest.raises(GapError, match="no longer has the records"):
            resumed(committed, starts=lost)


def test_a_group_without_offsets_or_of_another_database_is_a_gap() -> None:
    with pytest.raises(GapError, match="no offsets"):
        resumed({At(TRANSACTIONS): None, At(SHOP): None})
    with pytest.raises(GapError, match="another database"):
        resumed({At(TRANSACTIONS): stored(5, "id-t", *marks(), system="other")})


def test_a_place_is_read_as_it_was_written_and_is_never_too_long() -> None:
    place = Checkpoint("id", "db", 7, tuple(marks()))
    assert Checkpoint.parse(place.text()) == place
    assert Checkpoint.parse(
        '{"topic": "id", "system": "db", "lsn": 7, "topics": ["aaaaaa"]}'
    ) == Checkpoint("id", "db", 7, ("aaaaaa",))
    many = Checkpoint("i" * 22, "d" * 40, 1 << 62, tuple(mark_of(str(n), "i") for n in range(290)))
    assert Checkpoint.parse(many.text()) == many
    assert len(Checkpoint("i", "d", 7, many.topics * 2).text()) < METADATA
    for text in (None, "", "x", "{}", "[]", "1"):
        assert Checkpoint.parse(text) is None
