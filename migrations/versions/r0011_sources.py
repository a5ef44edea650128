"""Sources that records are collected from: how far each was read, and what was landed of it."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = """
-- One row a source. `cursor` moves in the transaction that merges what was read up to it, and only for the holder of
-- the lease's `epoch`. `shape`: which fields were seen. `as_of`: when the source last said that all of it is here.
CREATE TABLE recordgate.sources (
    name text PRIMARY KEY,
    type text NOT NULL,
    definition text NOT NULL,
    cursor jsonb NOT NULL DEFAULT '{}',
    shape jsonb NOT NULL DEFAULT '{}',
    epoch bigint NOT NULL DEFAULT 0,
    owner text NOT NULL DEFAULT '',
    leased_until timestamptz,
    state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'ok', 'late', 'down', 'drifted', 'paused')),
    asked_at timestamptz,
    answered_at timestamptz,
    as_of timestamptz,
    full_at timestamptz,
    next_at timestamptz NOT NULL DEFAULT now(),
    failures integer NOT NULL DEFAULT 0,
    code text NOT NULL DEFAULT '',
    problem text NOT NULL DEFAULT '',
    hint text NOT NULL DEFAULT '',
    pages bigint NOT NULL DEFAULT 0,
    rows bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0
);
-- What was received and lies in a file of the host that received it, until it is merged, and for a while after.
CREATE TABLE recordgate.landings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    host text NOT NULL,
    file text NOT NULL,
    sha256 text NOT NULL,
    from_cursor jsonb NOT NULL,
    to_cursor jsonb NOT NULL,
    walk bigint NOT NULL,
    pages integer NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    merged_at timestamptz,
    batch text NOT NULL DEFAULT ''
);
CREATE INDEX landings_source ON recordgate.landings (source, walk, id);
CREATE INDEX import_batches_unfinished ON recordgate.import_batches (type)
    WHERE state IN ('staging', 'staged', 'merging');
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables are not taken back")
