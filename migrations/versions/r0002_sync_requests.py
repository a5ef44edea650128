"""Requests of commands to the running worker, and whether a building generation has every page."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE recordgate.generations ADD COLUMN walked boolean NOT NULL DEFAULT false;

-- `reload` and `rollback`: asked by a command, done by the worker, wherever it runs.
CREATE TABLE recordgate.sync_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action text NOT NULL CHECK (action IN ('reload', 'rollback')),
    type text NOT NULL,
    sink text,
    state text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'running', 'done', 'failed')),
    targets jsonb NOT NULL DEFAULT '{}',
    message text NOT NULL DEFAULT '',
    asked_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz
);
CREATE INDEX sync_requests_open ON recordgate.sync_requests (id) WHERE state IN ('asked', 'running');
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables cannot be downgraded")
