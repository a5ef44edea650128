"""The form that each followed table had when it was last looked at, so that what changes while no
worker runs is noticed."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
-- One row for each table whose changes are captured. `form` NULL: the table was not there.
CREATE TABLE recordgate.followed (
    "schema" text NOT NULL,
    "table" text NOT NULL,
    form jsonb,
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("schema", "table")
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables cannot be downgraded")
