"""The feed of changes that gateways deliver to subscriptions, and whether one is wanted."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
-- Which records changed, in the order in which the worker saw it. Written only while it is wanted. `key` null: any
-- record of the type may have changed.
CREATE TABLE recordgate.feed (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lsn pg_lsn NOT NULL,
    type text NOT NULL,
    key text,
    kind text NOT NULL CHECK (kind IN ('created', 'updated', 'deleted', 'refresh')),
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feed_lsn ON recordgate.feed (lsn);

-- One row. `since`: from there on no change is missing in the feed; null: none is written. `horizon`: as `since`, after
-- old rows were removed.
CREATE TABLE recordgate.feed_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    wanted_until timestamptz NOT NULL,
    since pg_lsn,
    horizon pg_lsn
);
INSERT INTO recordgate.feed_state (wanted_until) VALUES ('-infinity');
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables cannot be downgraded")
