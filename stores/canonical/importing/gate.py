"""The gate of a type: rules that an import must not break, looked at in its own transaction, after
the merge and before the commit.

A rule that allows no bad row is looked at on the rows of the batch alone: what was there before is
no matter of this import, and the cost is the batch's. Any other is counted over the whole type as
it would be, in one scan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from stores.canonical.importing.connection import Connection
from stores.canonical.importing.merge import MergePlan
from stores.canonical.importing.options import ImportOptions, Mode
from stores.canonical.importing.set_checks import good, identifiers
from stores.canonical.rule_results import (
    BROKEN,
    EXAMPLES,
    FAILED,
    PASSED,
    UNKNOWN,
    Result,
    as_value,
    exampled,
    judge,
    measure,
    prepare_role,
    problem_of,
    within,
)
from stores.canonical.rule_sql import bad_keys, bad_row, scan
from stores.contract.gates import gate_rules
from stores.contract.model import Contract, RecordType
from stores.contract.promises import Rule


class GateClosed(Exception):
    """A rule is broken or could not be measured; the transaction is taken back."""

    hint = "mend the rows, or import with --no-gate, which is written down"


@dataclasses.dataclass(slots=True)
class _View:
    """Rows, the columns of their keys, and rules with what is true of a bad one."""

    source: sql.Composable
    keys: Sequence[sql.Composable]
    bad: list[tuple[Rule, sql.Composable]] = dataclasses.field(default_factory=list)


class Gate:
    """The gate of one import."""

    def __init__(self, contract: Contract, record: RecordType, options: ImportOptions) -> None:
        self._contract, self._record = contract, record
        self._timeout = options.rule_timeout
        self._rules = gate_rules(record)

    def prepare(self, connection: Connection) -> str:
        """Prepare the role of rules of type sql, before the merge's transaction. Return why they
        cannot be run, or an empty string."""
        return prepare_role(connection, list(self._contract.types.values()), self._rules)

    def look(self, connection: Connection, plan: MergePlan, role: str) -> list[dict[str, Any]]:
        """Return the result of each rule, in the contract's order."""
        whole = [rule for rule in self._rules if not rule.forbids_any]
        found = {}
        if whole:
            measured = measure(connection, self._record, whole, timeout=self._timeout, role=role)
            found = {result.rule.id: result for result in measured.results}
        batch = [rule for rule in self._rules if rule.forbids_any]
        for view in self._views(plan, batch):
            found |= self._on_batch(connection, view)
        for rule in batch:
            found.setdefault(rule.id, Result(rule, PASSED, Decimal(0), Decimal(0), 0))
        return [as_value(found[rule.id]) for rule in self._rules]

    def refuse(self, results: Sequence[dict[str, Any]]) -> None:
        """Raise GateClosed where a rule is broken, or is not known for another reason than that no
        rows are left."""
        closed = [
            r
            for r in results
            if r["state"] in (BROKEN, FAILED) or (r["state"] == UNKNOWN and r["metric"] == "sql")
        ]
        if closed:
            raise GateClosed("; ".join(_sentence(r) for r in closed))

    def _views(self, plan: MergePlan, rules: Sequence[Rule]) -> list[_View]:
        """The rows of the batch, and the rules that look at them so: one scan each."""
        if plan.mode is Mode.DELETE or not plan.good_rows:
            return []
        staged = plan.staging.all(plan.table.key)
        assert staged is not None
        as_staged = _View(_staged(plan), staged)
        as_written = _View(_written(plan, staged), identifiers(plan.table.key))
        for rule in rules:
            prop = self._record.by_column[rule.columns[0]]
            position = plan.staging.position(prop.column)
            if position is not None and self._contract.managed:
                # What is staged is what is written: no need to look at the table.
                prop = dataclasses.replace(prop, column=f"c{position}")
                as_staged.bad.append((rule, bad_row(rule, prop)))
            else:
                as_written.bad.append((rule, bad_row(rule, prop)))
        return [view for view in (as_staged, as_written) if view.bad]

    def _on_batch(self, connection: Connection, view: _View) -> dict[str, Result]:
        """The rules on the rows that the batch wrote or found as they should be."""
        counts = [sql.SQL("count(*) FILTER (WHERE {})").format(bad) for _, bad in view.bad]
        try:
            with within(connection, self._timeout):
                row = connection.execute(scan(view.source, counts)).fetchone()
        except psycopg.Error as error:
            problem = problem_of(connection, error)
            if len(view.bad) == 1:
                rule = view.bad[0][0]
                return {rule.id: Result(rule, FAILED, problem=problem)}
            # One of them is at fault: each alone says which.
            alone = [_View(view.source, view.keys, [one]) for one in view.bad]
            return {k: v for one in alone for k, v in self._on_batch(connection, one).items()}
        assert row is not None
        found: dict[str, Result] = {}
        for (rule, bad), count in zip(view.bad, row[1:], strict=True):
            result = judge(rule, Decimal(count), row[0])
            if result.state == BROKEN:
                with within(connection, self._timeout):
                    keys = bad_keys(view.source, view.keys, bad, EXAMPLES)
                    result = exampled(result, self._record, connection.execute(keys).fetchall())
            found[rule.id] = result
        return found


def _staged(plan: MergePlan) -> sql.Composed:
    if plan.clean:
        return sql.SQL("{} AS s").format(plan.staging.staged)
    return sql.SQL("(SELECT * FROM {} AS s WHERE {}) AS s").format(
        plan.staging.staged, good(plan.staging)
    )


def _written(plan: MergePlan, staged: Sequence[sql.Composable]) -> sql.Composed:
    """The table's rows with the keys of the batch."""
    key = sql.SQL(", ").join(identifiers(plan.table.key))
    rows = sql.SQL("SELECT {} FROM {} AS s").format(sql.SQL(", ").join(staged), plan.staging.staged)
    if not plan.clean:
        rows = sql.SQL("{} WHERE {}").format(rows, good(plan.staging))
    return sql.SQL("(SELECT * FROM {} WHERE ({}) IN ({})) AS t").format(
        plan.table.identifier, key, rows
    )


def _sentence(result: dict[str, Any]) -> str:
    name = f"the rule {result['rule']}"
    if result["state"] != BROKEN:
        return f"{name} could not be measured: {result['problem']}"
    return f"{name} is broken: it came to {result['value']}, and {result['expected']}"
