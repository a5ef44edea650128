"""The types that are followed, and which roles see a row, as SQL that the worker runs
when the row changes. Pure."""

from __future__ import annotations

from functools import partial

from psycopg import sql

from gateway.compiler.conditions import TRUE, Conditions, both
from gateway.compiler.statement import LiteralBinder
from gateway.shape.filters import row_filter
from gateway.shape.visibility import Visibility
from stores.canonical.kept_changes import ALIAS, Followed
from stores.contract.model import Contract, RecordType
from stores.query import EVERYTHING, Filter


def followed_types(contract: Contract) -> dict[str, Followed]:
    """The types whose changes are kept, by name."""
    return {name: _followed(contract, t) for name, t in contract.followed.items()}


def seen_by(
    record_type: RecordType, visibility: Visibility | None, seen: sql.Composable
) -> sql.Composable:
    """The condition that the viewer sees a record whose image was kept with `seen`."""
    if visibility is None or visibility.row_filters(record_type) is None:
        return TRUE
    roles = sorted(visibility.roles)
    return sql.SQL("coalesce({} && {}::text[], FALSE)").format(seen, sql.Literal(roles))


def _followed(contract: Contract, record_type: RecordType) -> Followed:
    verdicts = []
    for role, _ in record_type.row_filter:
        visibility = Visibility(contract, frozenset((role,)))
        binder = LiteralBinder()
        alias = binder.alias()
        assert alias.as_string(None) == ALIAS
        # As `Conditions.visible` takes it: without the row filters of related types.
        rows = row_filter(record_type, visibility)
        parts = []
        if rows != EVERYTHING:
            conditions = Conditions(contract, binder, partial(_rows, rows))
            parts = conditions.visible(record_type, alias)
        verdicts.append((role, both(parts).as_string(None)))
    return Followed(record_type, tuple(verdicts))


def _rows(rows: Filter, _: RecordType) -> Filter:
    return rows
