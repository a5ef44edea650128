"""Idempotency keys of mutations, and the answers that go with them."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
-- Kept for a day. `key`: digest of caller, place and key; `request`: digest of what was asked.
CREATE TABLE recordgate.idempotency_keys (
    key bytea PRIMARY KEY,
    request bytea NOT NULL,
    answer bytea,
    made_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_keys_made ON recordgate.idempotency_keys (made_at);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("the platform's tables cannot be downgraded")
