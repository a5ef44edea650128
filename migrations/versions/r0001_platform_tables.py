"""The platform's first tables: watermarks, backlog, dead letters, import batches, generations,
workers, audit."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
-- How far each sink has applied and published the changes of which database.
CREATE TABLE recordgate.watermarks (
    sink text PRIMARY KEY,
    system text NOT NULL,
    lsn pg_lsn NOT NULL,
    as_of timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    detail jsonb NOT NULL DEFAULT '{}'
);

-- Dirty keys of a sink that lags: what it still has to read again.
CREATE TABLE recordgate.backlog (
    sink text,
    type text,
    key text,
    lsn pg_lsn NOT NULL,
    xid bigint,
    queued_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sink, type, key)
);

-- Rows and documents set aside, each with all its reasons.
CREATE TABLE recordgate.dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('import', 'sink', 'source')),
    type text,
    sink text,
    batch text,
    key text,
    line bigint,
    code text NOT NULL,
    reasons jsonb NOT NULL,
    payload jsonb,
    version bigint,
    attempts int NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX dead_letters_sink ON recordgate.dead_letters (sink, type, key) WHERE kind = 'sink';
CREATE INDEX dead_letters_batch ON recordgate.dead_letters (batch, line);

CREATE TABLE recordgate.import_batches (
    id text PRIMARY KEY,
    type text NOT NULL,
    mode text NOT NULL,
    file text NOT NULL,
    fingerprint text NOT NULL,
    state text NOT NULL
        CHECK (state IN ('staging', 'staged', 'merging', 'done', 'refused', 'failed')),
    staging_table text,
    options jsonb NOT NULL DEFAULT '{}',
    rows bigint NOT NULL DEFAULT 0,
    inserted bigint NOT NULL DEFAULT 0,
    updated bigint NOT NULL DEFAULT 0,
    unchanged bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    error text,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX import_batches_fingerprint ON recordgate.import_batches (fingerprint);

CREATE TABLE recordgate.generations (
    sink text,
    type text,
    number int,
    state text NOT NULL CHECK (state IN ('building', 'active', 'retired')),
    shape text NOT NULL,
    resume_key text,
    version bigint,
    rows bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    activated_at timestamptz,
    retired_at timestamptz,
    PRIMARY KEY (sink, type, number)
);

-- Who reads a slot: a worker that lost its row to another epoch must stop.
CREATE TABLE recordgate.workers (
    slot text PRIMARY KEY,
    owner uuid NOT NULL,
    epoch bigint NOT NULL,
    host text,
    pid int,
    heartbeat_at timestamptz NOT NULL
);

CREATE TABLE recordgate.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text,
    action text,
    detail jsonb
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables cannot be downgraded")
