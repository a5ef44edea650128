"""Messages that are no changes of ours: each becomes a dead letter of kind `source`, once."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from psycopg.types.json import Jsonb

from stores.canonical.connect import AsyncConnection
from sync.sources.debezium.consumer import SetAside

log = logging.getLogger(__name__)

CODE = "POISON"
_SET_ASIDE = """
INSERT INTO recordgate.dead_letters (kind, key, code, reasons, payload)
SELECT 'source', %(key)s, %(code)s, %(reasons)s, %(payload)s
WHERE NOT EXISTS (SELECT FROM recordgate.dead_letters WHERE kind = 'source' AND key = %(key)s)
"""


async def set_aside(conn: AsyncConnection, messages: Sequence[SetAside]) -> None:
    """Record them; the key is `topic/partition/offset`. Raises psycopg.Error."""
    async with conn.transaction():
        for message in messages:
            key = f"{message.topic}/{message.partition}/{message.offset}"
            log.warning("message %s is set aside: %s", key, message.reason)
            payload = {
                "topic": message.topic,
                "partition": message.partition,
                "offset": message.offset,
                "value": message.text.replace("\x00", ""),
            }
            await conn.execute(
                _SET_ASIDE,
                {
                    "key": key,
                    "code": CODE,
                    "reasons": Jsonb([message.reason]),
                    "payload": Jsonb(payload),
                },
            )
