"""Whether canonical is what the contract says, before anything runs on it.

What a process cannot run without keeps it from starting. What canonical has beyond its contract does not: after an
`apply` that only added, gateways and workers of the earlier contract go on, and may be started again.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from recordgate.migrations.run import HEAD, current, migrate
from stores.canonical.applied import Applied, applied
from stores.canonical.apply import apply_plan
from stores.canonical.connect import (
    Connection,
    connect,
    lineage,
    text_order_is_bytewise,
)
from stores.canonical.plan import make_plan
from stores.canonical.steps import Need, Phase, Plan, needed
from stores.contract.model import Contract
from stores.errors import SetupError
from stores.lineage import Lineage

log = logging.getLogger("recordgate")


def make_ready(url: str, contract: Contract, *, may_apply: bool) -> tuple[Lineage, bool]:
    """Which database canonical is, and whether it orders text by bytes. With `may_apply` a database on which
    recordgate has never been is set up. Raises SetupError where canonical lacks what the contract needs."""
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
            "the contract is not applied, and not all of it can be without being asked for",
            hint="look at `recordgate plan`, then run `recordgate apply`",
        )
    log.info("first start: %d steps make canonical what the contract says", len(found.steps))
    migrate(conn)
    apply_plan(conn, contract, found)


def _follows(conn: Connection) -> bool:
    """Whether a worker has followed the tables before."""
    row = conn.execute("SELECT EXISTS (SELECT FROM recordgate.followed)").fetchone()
    return bool(row and row[0])


def _require_applied(conn: Connection, contract: Contract) -> None:
    if current(conn) != HEAD:
        raise SetupError(
            "recordgate's own tables in canonical are not those of this version",
            hint="run `recordgate apply`",
        )
    plan = make_plan(conn, contract)
    if _follows(conn):
        # What was undone of the capture, as by a new partition, the worker does again, or says why it cannot.
        capture = (Phase.REPLICA_IDENTITY, Phase.PUBLICATION)
        plan = replace(plan, steps=tuple(s for s in plan.steps if s.phase not in capture))
    if not plan.steps:
        return
    before = applied(conn, contract)
    problem = lacking(plan, before)
    if problem is not None:
        raise problem
    log.warning(
        "canonical has more than the contract of this process says, or other rules; it is left as it is%s",
        f": the contract that was applied last is {before.last}" if before.earlier else "",
    )


def lacking(plan: Plan, before: Applied) -> SetupError | None:
    """The error of a process that starts, where `plan` says that it cannot run; None where it can. Never one whose hint
    leads to dropping what another contract has added."""
    steps = needed(plan.steps, rules=not before.earlier)
    if not steps:
        return None
    more = f" and {len(steps) - 1} more" if len(steps) > 1 else ""
    surplus = [s for s in plan.steps if s.need is Need.SURPLUS]
    hint = "run `recordgate apply`"
    if any(s.blocked for s in steps):
        hint = "look at `recordgate plan`; a step that is marked with x is yours, apply does the others"
    if before.earlier:
        hint = (
            f"the contract that was applied last is {before.last}: start this process with that one, and do not"
            " apply this one over it"
        )
    elif surplus:
        hint = (
            "look at `recordgate plan`: canonical also has what this contract does not say. If another contract was"
            " applied to it, start this process with that one"
        )
    return SetupError(f"canonical is not what the contract says: {steps[0].text}{more}", hint=hint)
