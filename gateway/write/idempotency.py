"""Idempotency keys: a mutation that is sent again with the same key is answered as it was, and not
done again.

The key is written in the transaction of the write, so both are there or neither is. A second call
with the same key waits for the first one's end. A key belongs to who sent it and to the place of
its field in the request; it is kept for a day, and cannot be used for another request. A mutation
that failed leaves no key.

After draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import GraphQLResolveInfo, print_ast
from psycopg import AsyncConnection

from gateway.context.services import Viewer
from stores.errors import ConflictError, InputError, LimitError

KEPT = "24 hours"
LONGEST_ANSWER = 1_000_000
"""Bytes of an answer that is kept."""

_KEY = re.compile(r"[!-~]{1,255}\Z")
_REMOVED = 20
"""Expired keys that a new one removes."""

CLAIM = b"""
WITH expired AS (
    SELECT key FROM recordgate.idempotency_keys WHERE made_at < now() - interval '24 hours'
    ORDER BY made_at LIMIT %s FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM recordgate.idempotency_keys USING expired WHERE idempotency_keys.key = expired.key
)
INSERT INTO recordgate.idempotency_keys (key, request) VALUES (%s, %s) ON CONFLICT (key) DO NOTHING
RETURNING true
"""
READ = b"SELECT request, answer FROM recordgate.idempotency_keys WHERE key = %s"
KEEP = b"UPDATE recordgate.idempotency_keys SET answer = %s WHERE key = %s"


@dataclass(frozen=True, slots=True)
class Idempotency:
    """`key` and `request` are digests: of who sent which key for which field, and of what was
    asked."""

    key: bytes
    request: bytes

    async def claim(self, conn: AsyncConnection[Any]) -> dict[str, Any] | None:
        """None where the key is new and now taken, else the answer that was kept. Raises InputError
        where it was used for another request. In the transaction of the write."""
        cursor = await conn.execute(CLAIM, [_REMOVED, self.key, self.request])
        if await cursor.fetchone() is not None:
            return None
        row = await (await conn.execute(READ, [self.key])).fetchone()
        if row is None or row[1] is None:  # it expired in between
            raise ConflictError("a request with this idempotency key is running", hint="try again")
        if bytes(row[0]) != self.request:
            raise InputError(
                "the idempotency key was used for another request",
                hint="make a new key for each request, and send it again with that request only",
            )
        answer: dict[str, Any] = orjson.loads(bytes(row[1]))
        return answer

    async def keep(self, conn: AsyncConnection[Any], answer: dict[str, Any]) -> None:
        """Keep `answer` for the key. Raises LimitError for a large one."""
        raw = orjson.dumps(answer)
        if len(raw) > LONGEST_ANSWER:
            raise LimitError(
                "the answer is too large to be kept for an idempotency key",
                hint="select fewer fields",
            )
        await conn.execute(KEEP, [raw, self.key])


def idempotency(
    viewer: Viewer, given: str | None, info: GraphQLResolveInfo[Any]
) -> Idempotency | None:
    """Return the idempotency key that a mutation field was given, or None. Raises InputError."""
    if given is None:
        return None
    if not _KEY.match(given):
        raise InputError("an idempotency key has 1 to 255 visible ASCII characters")
    path = ".".join(str(part) for part in info.path.as_list())
    who = orjson.dumps([viewer.caller or viewer.name, path, given])
    parts = [print_ast(node) for node in info.field_nodes]
    parts += [print_ast(info.fragments[name]) for name in sorted(info.fragments)]
    asked = orjson.dumps(
        [parts, info.variable_values, sorted(viewer.roles)],
        default=str,
        option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS,
    )
    return Idempotency(hashlib.sha256(who).digest(), hashlib.sha256(asked).digest())
