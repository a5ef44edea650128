"""docs/howto/contract-cookbook.md: its contract is one that Postgres takes, and that a gateway
answers by."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg

from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from tests.acceptance.access_rig import bearer, keys_for, with_keys
from tests.acceptance.gateway_rig import gateway
from tests.unit.test_contract_schema import cookbook

ROWS = """
INSERT INTO festival.artists (id, name, country, genre, languages, fee, email)
VALUES ('7b0f7f3e-5d0b-4d5c-9d39-0a4a6f1f6f01', 'Ada and the Quills', 'FR', 'rock', '{en,fr}', 900.50, 'ada@quills.fr');
INSERT INTO festival.stages (id, name, capacity, open) VALUES (1, 'Main', 5000, true);
INSERT INTO festival.concerts (day, slot, artist_id, stage_id)
VALUES ('2026-07-01', 1, '7b0f7f3e-5d0b-4d5c-9d39-0a4a6f1f6f01', 1);
INSERT INTO festival.managers (id, name, stage_id) VALUES (1, 'Mo', 1);
INSERT INTO festival.tickets (number, day, slot) VALUES (1, '2026-07-01', 1);
"""


def test_the_cookbooks_contract_is_applied_and_answers(database: str, tmp_path: Path) -> None:
    file = tmp_path / "festival.odcs.yaml"
    file.write_text(cookbook(), "utf-8")

    async def main() -> None:
        keys, (office, press) = keys_for(tmp_path, ("office",), ("press",))
        access = with_keys(keys)
        async with gateway(database, tmp_path, contract=file, rows=ROWS, access=access) as rig:
            asked = "{ artists { nodes { fee email } } }"
            seen = await rig.graphql(asked, headers=bearer(office))
            assert seen["data"]["artists"]["nodes"] == [{"fee": "900.50", "email": "ada@quills.fr"}]
            seen = await rig.graphql(asked, headers=bearer(press))
            assert seen["data"]["artists"]["nodes"] == [{"fee": None, "email": "ad***s.fr"}]
            found = await rig.graphql(
                '{ concert(id: "2026-07-01,1") { artist { name genre } stage { manager { name } }'
                ' tickets { totalCount } } searchArtists(query: "quills", facets: ["genre"])'
                " { nodes { name concerts { totalCount } } facets { buckets { value } } } }",
                headers=bearer(office),
            )
            assert "errors" not in found, found
            assert found["data"]["concert"] == {
                "artist": {"name": "Ada and the Quills", "genre": "rock"},
                "stage": {"manager": {"name": "Mo"}},
                "tickets": {"totalCount": 1},
            }

    asyncio.run(main())
    with connect(database) as conn:
        assert make_plan(conn, load_contract(file)).steps == ()
    with psycopg.connect(database) as conn:
        for bad in (
            "UPDATE festival.artists SET genre = 'polka'",
            "UPDATE festival.artists SET country = 'France'",
            "UPDATE festival.artists SET fee = -1",
            "UPDATE festival.artists SET fee = 0.3",
            "UPDATE festival.artists SET languages = '{xx}'",
        ):
            try:
                conn.execute(bad.encode())
            except psycopg.errors.CheckViolation:
                conn.rollback()
            else:
                raise AssertionError(bad)
