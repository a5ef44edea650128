"""Whether canonical is what the contract says, before anything runs on it."""

from __future__ import annotations

import logging

from migrations.run import HEAD, current, migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import (
    Connection,
    connect,
    system_identity,
    text_order_is_bytewise,
)
from stores.canonical.plan import make_plan
from stores.canonical.steps import Phase
from stores.contract.model import Contract
from stores.errors import SetupError

log = logging.getLogger("recordgate")


def make_ready(url: str, contract: Contract, *, may_apply: bool) -> tuple[str, bool]:
    """Canonical's identity, and whether it orders text by bytes. With `may_apply` a database on which
    recordgate has never been is set up. Raises SetupError where the contract is not applied."""
    with connect(url) as conn:
        if current(conn) is None and may_apply:
            _set_up(conn, contract)
        else:
            _require_applied(conn, contract)
        return system_identity(conn), text_order_is_bytewise(conn)


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
    steps = make_plan(conn, contract).steps
    if _follows(conn):
        # What was undone of the capture, as by a new partition, the worker does again, or says why it cannot.
        steps = tuple(
            s for s in steps if s.phase not in (Phase.REPLICA_IDENTITY, Phase.PUBLICATION)
        )
    if steps:
        more = f" and {len(steps) - 1} more" if len(steps) > 1 else ""
        raise SetupError(
            f"canonical is not what the contract says: {steps[0].text}{more}",
            hint="run `recordgate apply`",
        )
