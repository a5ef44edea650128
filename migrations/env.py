"""Alembic's entry: runs the migrations on the connection that `migrations.run` hands over."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="recordgate",
    transaction_per_migration=False,
)
context.run_migrations()
