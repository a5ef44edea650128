"""The timeline that positions without one are of: those that were recorded before timelines
were."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
-- One row. `first`: the timeline of the database `system` when recordgate began to record timelines. What has none,
-- of a store, a watermark or a token, is of this one.
CREATE TABLE recordgate.lineage (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    system text NOT NULL,
    first bigint NOT NULL
);
INSERT INTO recordgate.lineage (system, first)
SELECT c.system_identifier::text || '/' || d.oid::text,
  ('x' || left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8))::bit(32)::bigint
FROM pg_catalog.pg_control_system() AS c, pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database();
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables cannot be downgraded")
