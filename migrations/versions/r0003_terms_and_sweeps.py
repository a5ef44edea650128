"""The connections of the worker in charge, which another may end when it stalls; how far the slow
sweep is."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
-- Process ids at the server of the session's connections. `epoch` is its term.
ALTER TABLE recordgate.workers ADD COLUMN backends int[] NOT NULL DEFAULT '{}';

-- The worker's slow comparison of a type in a sink: the round under way, and the last whole one.
CREATE TABLE recordgate.sweeps (
    sink text,
    type text,
    resume_key text,
    found bigint NOT NULL DEFAULT 0,
    compared bigint NOT NULL DEFAULT 0,
    began_at timestamptz NOT NULL DEFAULT now(),
    differences bigint,
    records bigint,
    examples jsonb NOT NULL DEFAULT '{}',
    ended_at timestamptz,
    PRIMARY KEY (sink, type)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables cannot be downgraded")
