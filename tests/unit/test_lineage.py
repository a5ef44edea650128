"""What of earlier timelines is of canonical's history, and how versions go on over a failover."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stores import local_state
from stores.lineage import Lineage, parse_history
from stores.protocols import WITHDRAWN, Position

THIRD = Lineage("1/2", 3, ((1, 200), (2, 300)), first=1)


def test_a_history_file_is_read_as_postgres_writes_it() -> None:
    text = "1\t0/30006F8\tno recovery target specified\n\n2\t1/A0\tbefore 2026-01-01 00:00:00+00\n"
    assert parse_history(text) == ((1, 0x30006F8), (2, (1 << 32) | 0xA0))


def test_what_was_recorded_up_to_a_fork_is_of_this_history_and_nothing_beyond() -> None:
    assert THIRD.holds(1, 200)
    assert not THIRD.holds(1, 201)
    assert THIRD.holds(2, 300, ((1, 200),))
    assert THIRD.holds(3, 10**9, THIRD.forks)
    assert not THIRD.holds(4, 1)


def test_another_history_with_the_same_number_is_told_by_its_forks() -> None:
    assert not THIRD.holds(3, 250, ((1, 199), (2, 300)))


def test_what_says_no_timeline_is_of_the_first_one() -> None:
    assert THIRD.holds(0, 200)
    assert not THIRD.holds(0, 201)
    unchanged = Lineage("1/2", 5, ((4, 100),), first=5)
    assert unchanged.holds(0, 10**9)
    assert unchanged.base == 0  # as versions were before there were timelines


@given(st.integers(1, 2**46), st.integers(0, 2**46), st.integers(0, 2**46))
def test_a_reading_on_a_later_timeline_is_newer_than_any_before(
    fork: int, lost: int, more: int
) -> None:
    before, after = Lineage("1/2", 1, first=1), Lineage("1/2", 2, ((1, fork),), first=1)
    assert before.base + fork + lost < after.base + fork + more
    assert after.last_version(1) == fork
    assert after.last_version(2) is None
    assert after.base + fork + more < 2**63


def test_files_of_the_version_before_have_a_position_without_a_timeline(tmp_path: Path) -> None:
    """And it may go on with them: what it knows nothing of, it leaves alone."""
    connection = local_state.connect(tmp_path / "state.sqlite")
    local_state.claim(connection, "c", "sqlite")
    connection.execute("DROP TABLE lineage")
    connection.execute("INSERT INTO position VALUES (1, '1/2', 100, 5.0)")
    local_state.claim(connection, "c", "sqlite")
    assert local_state.get_position(connection) == Position("1/2", 100, 5.0)
    now = Position("1/2", 110, 6.0, (), 3, THIRD.forks)
    local_state.set_position(connection, now)
    assert local_state.get_position(connection) == now
    connection.execute("UPDATE position SET lsn = 120")  # by the version before
    assert local_state.get_position(connection) == Position("1/2", 120, 6.0)
    local_state.set_position(connection, WITHDRAWN)
    found = local_state.get_position(connection)
    assert found is not None
    assert found.withdrawn
    connection.close()


def test_a_position_covers_nothing_of_a_database_that_it_says_nothing_of() -> None:
    assert not WITHDRAWN.covers(1, 1)
