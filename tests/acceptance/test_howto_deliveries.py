"""docs/howto/deliveries.md, run as it stands there; and deliveries of weeks read from what imports
left."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from recordgate.migrations.run import migrate
from recordgate.monitoring.deliveries import MISSING, SHORT, standing_of
from stores.canonical.connect import connect
from stores.canonical.deliveries import read_days
from stores.contract.load import load_contract
from tests.acceptance.gateway_rig import GEONAMES
from tests.shown import Reader

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "deliveries.md"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BATCH = """
INSERT INTO recordgate.import_batches
  (id, type, mode, file, fingerprint, state, rows, started_at, finished_at)
VALUES (%s, 'city', 'upsert', 'cities.csv', %s, %s, %s, %s, %s)
"""


def test_the_page_does_what_it_says(reader: Reader) -> None:
    for _ in reader.follow(PAGE.read_text("utf-8")):
        pass
    (found,) = json.loads((reader.folder / "deliveries.json").read_text())["deliveries"]
    assert (found["type"], found["state"], found["dueBy"]) == (
        "sale",
        "not due",
        "promised frequency",
    )
    assert found["daysSeen"] == 1


def test_weeks_of_imports_are_read_by_the_day_and_a_refused_one_is_no_delivery(
    database: str,
) -> None:
    contract = load_contract(GEONAMES)
    with connect(database) as conn:
        migrate(conn)
        for back in range(40):
            # Two imports a day, of which the second ends at seven and takes two minutes.
            for part, hour in (("a", 6), ("b", 7)):
                at = (NOW - timedelta(days=back)).replace(hour=hour)
                name, rows = f"{back}{part}", 500 if back else 100
                conn.execute(
                    BATCH.encode(), (name, name, "done", rows, at - timedelta(minutes=2), at)
                )
        conn.execute(BATCH.encode(), ("x", "x", "refused", 9999, NOW, NOW))
        days = read_days(conn, ["city", "country"], NOW)
        assert days["country"] == []
        assert [d.rows for d in days["city"]] == [1000] * 39 + [200]
        assert (days["city"][-1].batches, days["city"][-1].seconds) == (2, 120.0)
        short = standing_of(contract, "city", days["city"], NOW)
        assert short is not None
        assert (short.state, short.day, short.rows) == (SHORT, NOW.date(), 200)
        later = NOW + timedelta(hours=40)
        missing = standing_of(
            contract, "city", read_days(conn, ["city"], later)["city"], later - timedelta(hours=1)
        )
        assert missing is not None
        assert missing.state == MISSING
        assert standing_of(contract, "country", [], NOW) is None
