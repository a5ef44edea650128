"""Measurements of quality rules: runs, and a result a rule."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = """
-- Written with its results in one transaction, at the end: a run that was killed leaves nothing and is due again.
CREATE TABLE recordgate.quality_runs (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    type text NOT NULL,
    -- schedule, command
    started_by text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    rows bigint NOT NULL
);
CREATE INDEX quality_runs_type ON recordgate.quality_runs (type, finished_at DESC);

-- `definition` names what the rule measured then: results of another definition are another history.
-- `value` is in the rule's unit, null where it was not known. `examples`: keys of bad rows, nothing else of them.
CREATE TABLE recordgate.quality_results (
    run bigint NOT NULL REFERENCES recordgate.quality_runs (id) ON DELETE CASCADE,
    type text NOT NULL,
    rule text NOT NULL,
    definition text NOT NULL,
    at timestamptz NOT NULL,
    state text NOT NULL,
    value numeric,
    bad numeric,
    total bigint NOT NULL,
    unit text NOT NULL,
    expected text NOT NULL,
    problem text NOT NULL DEFAULT '',
    examples jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (type, rule, at, run)
);
CREATE INDEX quality_results_run ON recordgate.quality_results (run);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables are not taken back")
