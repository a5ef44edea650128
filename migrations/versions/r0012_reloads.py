"""A running process may be asked to read its contract again."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLES = """
-- Grows with each time that the process is asked to read its contract and keys again; what came of
-- it stands in `detail`, under `reload`.
ALTER TABLE recordgate.processes ADD COLUMN asked bigint NOT NULL DEFAULT 0;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables are not taken back")
