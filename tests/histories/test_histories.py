"""Random histories of a real canonical, a real worker and real stores: whatever happens, they end
equal.

The seeds are fixed, so that every run plays the same; `make soak` plays new ones.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import drop_database, url_of
from tests.histories.machine import Player
from tests.histories.stage import Stage, stage

SEEDS = range(1, 9)
HISTORIES = 25
"""Of each seed: 200 in all."""


@pytest.fixture(scope="module")
def played(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage in a database of its own."""
    name = f"histories_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    try:
        with stage(url_of(postgres, name), tmp_path_factory.mktemp("histories")) as found:
            yield found
    finally:
        drop_database(postgres, name)


# A history that fails is played again, to be shortened: its own report must come before the time is
# up.
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_the_stores_end_equal(played: Stage, seed: int, tmp_path: Path) -> None:
    player = Player(played, tmp_path, "")
    player.play(seed, HISTORIES)
    assert player.tally.histories >= HISTORIES
    print(f"seed {seed}: {player.tally}, {played.compared} documents compared so far")
