"""Relationships into other products: which records here name one there that is not, by the other
product's export."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urljoin, urlsplit

from psycopg import sql

from stores.canonical.connect import Connection
from stores.contract.model import Contract, ForeignRelation, RecordType
from stores.errors import StoreUnavailable

SECONDS = 60.0
MAX_LINE = 1 << 20
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Dangling:
    """Result for one relationship: how many records name another product's, how many of those do
    not exist, and some of their keys."""

    type: str
    relation: str
    there: str
    records: int
    missing: int
    examples: tuple[str, ...]


def foreign_relations(contract: Contract) -> list[tuple[RecordType, ForeignRelation]]:
    return [(t, f) for t in contract.types.values() for f in t.foreign]


def export_url(foreign: ForeignRelation) -> str:
    """Return the URL at which the other product exports its keys: beside its contract."""
    query = urlencode({"format": "ndjson", "fields": foreign.property})
    return urljoin(foreign.contract, f"export/{quote(foreign.type)}?{query}")


def dangling(conn: Connection, record_type: RecordType, foreign: ForeignRelation) -> Dangling:
    """Compare with the other product as it is now. Raises StoreUnavailable where it does not
    answer."""
    with conn.transaction():
        conn.execute("CREATE TEMPORARY TABLE recordgate_keys_there (key text) ON COMMIT DROP")
        with (
            _lines(export_url(foreign)) as lines,
            conn.cursor().copy("COPY recordgate_keys_there FROM STDIN") as copy,
        ):
            for line in lines:
                record = json.loads(line)
                if not isinstance(record, dict) or foreign.property not in record:
                    raise ValueError(f"a line of it has no {foreign.property}")
                value = record[foreign.property]
                if value is not None and "\0" not in str(value):  # no key of ours has one
                    copy.write_row((str(value),))
        conn.execute("CREATE INDEX ON recordgate_keys_there (key)")
        row = conn.execute(
            sql.SQL(
                "SELECT count(*), count(*) FILTER (WHERE gone),"
                " (array_agg(DISTINCT key) FILTER (WHERE gone))[:{examples}] FROM ("
                " SELECT r.{column}::text AS key, NOT EXISTS ("
                " SELECT FROM recordgate_keys_there t WHERE t.key = r.{column}::text) AS gone"
                " FROM {table} r WHERE r.{column} IS NOT NULL) found"
            ).format(
                examples=sql.Literal(EXAMPLES),
                column=sql.Identifier(foreign.column),
                table=sql.Identifier(record_type.schema, record_type.table),
            )
        ).fetchone()
    assert row is not None
    return Dangling(
        record_type.name,
        foreign.name,
        f"{foreign.contract}#{foreign.type}.{foreign.property}",
        int(row[0]),
        int(row[1]),
        tuple(row[2] or ()),
    )


@contextmanager
def _lines(url: str) -> Iterator[Iterator[bytes]]:
    """The lines of an export. A redirect to another host is refused."""
    host = urlsplit(url).netloc
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            if urlsplit(answer.geturl()).netloc != host:
                raise _not_answered(url, "it redirects to another host")
            yield _split(answer)
    except urllib.error.HTTPError as error:
        raise _not_answered(url, f"it answers with status {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _not_answered(url, str(getattr(error, "reason", error))[:200]) from None


def _split(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the lines of an answer. Raises HTTPException or ValueError where it is cut off, which
    `readline` would take for its end."""
    rest = b""
    while block := answer.read1(1 << 16):
        *lines, rest = (rest + block).split(b"\n")
        yield from (line for line in lines if line)
        if len(rest) > MAX_LINE:
            raise ValueError(f"a line of it is longer than {MAX_LINE} bytes")
    if answer.length:
        raise ValueError("it is cut off")
    if rest:
        yield rest


def _not_answered(url: str, why: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"the keys of the other product at {url} cannot be read: {why}",
        store="foreign",
        hint="allow this machine to read its export; see docs/howto/federation.md",
    )
