"""Checks that canonical is what the contract says, before anything runs on it.

Whatever a process cannot run without keeps it from starting. Whatever canonical has beyond its
contract does not: after an `apply` that only added, gateways and workers of the earlier contract go
on, and may be started again.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from recordgate.migrations.run import current, migrate, require_current
from stores.canonical.applied import Applied, applied
from stores.canonical.apply import apply_plan
from stores.canonical.connect import (
    Connection,
    connect,
    lineage,
    text_order_is_bytewise,
)
from stores.canonical.plan import make_plan
from stores.canonical.steps import Need, Phase, SchemaPlan, needed
from stores.contract.model import Contract
from stores.errors import SetupError
from stores.lineage import Lineage

log = logging.getLogger("recordgate")


def make_ready(url: str, contract: Contract, *, may_apply: bool) -> tuple[Lineage, bool]:
    """Return canonical's lineage, and whether it orders text by bytes. With `may_apply`, set up a
    database on which recordgate has never been.

    Raises SetupError where canonical lacks something that the contract needs.
    """
    with connect(url) as conn:
        if current(conn) is None and may_apply:
            _set_up(conn, contract)
        else:
            _require_applied(conn, contract)
        return lineage(conn), text_order_is_bytewise(conn)


def _set_up(conn: Connection, contract: Contract) -> None:
    found = make_plan(conn, contract)
    if found.destructive or found.blocked:
        raise SetupError(
            "the contract is not applied, and some of its steps need your confirmation",
            hint="review `recordgate plan`, then run `recordgate apply`",
        )
    log.info("first start: applying the contract to canonical in %d steps", len(found.steps))
    migrate(conn)
    apply_plan(conn, contract, found)


def _follows(conn: Connection) -> bool:
    """Return whether a worker has followed the tables before."""
    row = conn.execute("SELECT EXISTS (SELECT FROM recordgate.followed)").fetchone()
    return bool(row and row[0])


def _require_applied(conn: Connection, contract: Contract) -> None:
    require_current(conn)
    plan = make_plan(conn, contract)
    if _follows(conn):
        # What was undone of the capture, as by a new partition, the worker does again, or says why
        # it cannot.
        capture = (Phase.REPLICA_IDENTITY, Phase.PUBLICATION)
        plan = replace(plan, steps=tuple(s for s in plan.steps if s.phase not in capture))
    if not plan.steps:
        return
    before = applied(conn, contract)
    problem = lacking(plan, before)
    if problem is not None:
        raise problem
    log.warning(
        "canonical has more than this process' contract declares, or different rules; it is"
        " left unchanged%s",
        f": the contract that was applied last is {before.last}" if before.earlier else "",
    )


def lacking(plan: SchemaPlan, before: Applied) -> SetupError | None:
    """Return the error with which a process refuses to start if `plan` says that it cannot run,
    else None. Its hint never leads to dropping what another contract has added."""
    steps = needed(plan.steps, rules=not before.earlier)
    if not steps:
        return None
    more = f" and {len(steps) - 1} more" if len(steps) > 1 else ""
    surplus = [s for s in plan.steps if s.need is Need.SURPLUS]
    hint = "run `recordgate apply`"
    if any(s.blocked for s in steps):
        hint = (
            "see `recordgate plan`: steps marked with x are for you to do, `recordgate apply`"
            " does the others"
        )
    if before.earlier:
        hint = (
            f"start this process with the contract that was applied last, {before.last}; do not"
            " apply this one over it"
        )
    elif surplus:
        hint = (
            "see `recordgate plan`: canonical also has what this contract does not declare. If"
            " another contract was applied to it, start this process with that one"
        )
    return SetupError(f"canonical does not match the contract: {steps[0].text}{more}", hint=hint)
