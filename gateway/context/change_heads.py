"""The head of the log of a type that is followed."""

from __future__ import annotations

from typing import Any

import psycopg

from stores.canonical.kept_changes import HEAD, Followed, Head
from stores.errors import StoreUnavailable


async def read_head(conn: psycopg.AsyncConnection[Any], followed: Followed) -> Head:
    """The head of the type's log. Raises StoreUnavailable where no worker keeps its changes as this
    process's contract says."""
    name = followed.type.name
    row = await (await conn.execute(HEAD.encode(), (name,))).fetchone()
    head = None if row is None else Head.of(row)
    if head is None or head.shape != followed.shape or head.timeline != head.written:
        raise StoreUnavailable(
            f"no worker keeps the changes of {followed.type.plural} now",
            store="postgres",
            hint="it does once it has read them all, with the same contract as the gateway",
            retry_after=5.0,
        )
    return head
