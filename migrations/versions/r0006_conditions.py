"""Conditions that keep a sink or a type from being loaded, current or asked; and the processes that
are alive."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
-- One row for each fault that stands now. `sink` or `type` empty: all of them. The worker in charge writes them, and
-- removes them when the fault is over.
CREATE TABLE recordgate.conditions (
    sink text NOT NULL,
    type text NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    hint text NOT NULL DEFAULT '',
    since timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sink, type, code)
);

-- Gateways and workers that are alive, with the contract that each has loaded.
CREATE TABLE recordgate.processes (
    id uuid PRIMARY KEY,
    role text NOT NULL CHECK (role IN ('up', 'serve', 'sync')),
    host text NOT NULL,
    pid int NOT NULL,
    version text NOT NULL,
    contract_version text NOT NULL,
    contract_digest text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables cannot be downgraded")
