"""The changes of record types, kept for those who follow them."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = """
-- What followers of a type can know of each record now: the contract's columns by name, and the
-- roles whose row filter lets it through (null: the type has none). As of the last row of
-- change_log.
CREATE TABLE recordgate.change_images (
    type text NOT NULL,
    key text NOT NULL,
    image jsonb NOT NULL,
    seen text[],
    PRIMARY KEY (type, key)
);
-- One row for each record that became another, in the order in which that was seen; what it was
-- *before*, null: it was not there. `bytes`: about how much the larger of both is.
CREATE TABLE recordgate.change_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type text NOT NULL,
    key text NOT NULL,
    image jsonb,
    seen text[],
    bytes integer NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX change_log_type ON recordgate.change_log (type, id);
CREATE INDEX change_log_key ON recordgate.change_log (type, key, id);
-- One row a type. A position is of one `epoch` only. `shape`: of which columns and row filters;
-- empty: it is to be compared with the table. The log begins behind `horizon`, whose row was of
-- `horizon_at`. Of the commits up to `lsn` of `timeline` all is in it.
CREATE TABLE recordgate.change_state (
    type text PRIMARY KEY,
    epoch bigint NOT NULL,
    shape text NOT NULL,
    horizon bigint NOT NULL,
    horizon_at timestamptz NOT NULL,
    timeline bigint NOT NULL,
    lsn pg_lsn NOT NULL
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables cannot be downgraded")
