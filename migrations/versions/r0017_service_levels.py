"""Service levels: what was good, by minute while it is new, and by hour later."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = """
-- Written by each gateway for itself, again and again while the minute lasts, so that one write
-- that comes twice counts once. `slices`: bit n is 1 where the seconds 5n to 5n+5 of the minute
-- were good. `good`, `total`: requests.
CREATE TABLE recordgate.service_minutes (
    indicator text NOT NULL,
    minute timestamptz NOT NULL,
    writer uuid NOT NULL,
    slices integer NOT NULL DEFAULT 0,
    good bigint NOT NULL DEFAULT 0,
    total bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (indicator, minute, writer)
);
CREATE INDEX service_minutes_minute ON recordgate.service_minutes (minute);
-- Since when something is known of an indicator: time before is not bad, it was not seen.
CREATE TABLE recordgate.service_indicators (
    indicator text PRIMARY KEY,
    since timestamptz NOT NULL
);
CREATE TABLE recordgate.service_hours (
    indicator text NOT NULL,
    hour timestamptz NOT NULL,
    good_seconds integer NOT NULL DEFAULT 0,
    good bigint NOT NULL DEFAULT 0,
    total bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (indicator, hour)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables are not taken back")
