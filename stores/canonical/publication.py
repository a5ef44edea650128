"""The change capture's needs in canonical: the publication, and the tables that publish their old
rows in full.

A change of a record that is inside another's document must lead to that document. Where the foreign
key is the child's, a child that moved or went away names its old parent only by its old row: its
table needs REPLICA IDENTITY FULL. All others keep DEFAULT, which costs no WAL.

From Postgres 18 on a replica identity that holds a generated column which is not published makes
the *application's* updates and deletes fail, so stored ones are published; virtual ones cannot be.
Earlier servers publish none. ("Replica Identity" and "Generated Column Replication" of Postgres'
manual.)
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from psycopg import sql

from stores.contract.model import Contract, Embed, RecordType

PUBLISH = "insert, update, delete, truncate"
GENERATED_FROM = 180_000
"""Server version that publishes stored generated columns."""


PREFIX = "recordgate_"


def publication_name(contract: Contract) -> str:
    return PREFIX + contract.slug


def slot_name(contract: Contract, database: str) -> str:
    """The replication slot for the contract in `database`: slots belong to the whole server, so two
    databases with one contract need two names."""
    return f"recordgate_{contract.slug[:36]}_{crc32(database.encode()):08x}"


def kafka_slot_name(contract: Contract, database: str) -> str:
    """The slot of the connector that writes changes to Kafka; never that of the worker's own
    source."""
    return f"{slot_name(contract, database)[:57]}_kafka"


def full_identity_types(contract: Contract) -> frozenset[str]:
    """Names of the types whose tables need REPLICA IDENTITY FULL."""
    return frozenset(untold_columns(contract))


def untold_columns(contract: Contract) -> dict[str, tuple[str, ...]]:
    """Type → the columns of a row before an update or a delete that lead to documents which held
    it, and that only REPLICA IDENTITY FULL tells."""
    found: dict[str, dict[str, None]] = {}

    def walk(owner: RecordType, embeds: tuple[Embed, ...]) -> None:
        for embed in embeds:
            relation = owner.relation_by_name[embed.relation]
            target = contract.types[relation.target]
            if not relation.owner:
                # A key's old value is sent with DEFAULT too.
                more = (c for c in relation.target_columns if c not in target.key)
                found.setdefault(target.name, {}).update(dict.fromkeys(more))
            walk(target, embed.embeds)

    for record_type in contract.types.values():
        walk(record_type, record_type.embeds)
    return {name: tuple(columns) for name, columns in found.items() if columns}


def published_tables(contract: Contract) -> list[tuple[str, str]]:
    """(schema, table) of each type, in the contract's order, each once."""
    return list(dict.fromkeys((t.schema, t.table) for t in contract.types.values()))


def tracked_columns(contract: Contract, record_type: RecordType) -> tuple[str, ...]:
    """The columns whose values a change of the type's table carries, the key's first."""
    columns = list(record_type.key)
    for relation in record_type.relations:
        if relation.owner:
            columns += relation.columns
    for other in contract.types.values():
        for relation in other.relations:
            if relation.owner and relation.target == record_type.name:
                columns += relation.target_columns
    return tuple(dict.fromkeys(columns))


def create_publication(
    contract: Contract, server_version: int, names: Iterable[tuple[str, str]]
) -> sql.Composed:
    return sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH ({})").format(
        sql.Identifier(publication_name(contract)), _tables(names), _options(server_version)
    )


def set_publication_tables(contract: Contract, names: Iterable[tuple[str, str]]) -> sql.Composed:
    return sql.SQL("ALTER PUBLICATION {} SET TABLE {}").format(
        sql.Identifier(publication_name(contract)), _tables(names)
    )


def set_publication_options(contract: Contract, server_version: int) -> sql.Composed:
    return sql.SQL("ALTER PUBLICATION {} SET ({})").format(
        sql.Identifier(publication_name(contract)), _options(server_version)
    )


def _options(server_version: int) -> sql.Composed:
    more = ", publish_generated_columns = stored" if server_version >= GENERATED_FROM else ""
    return sql.SQL("publish = {}, publish_via_partition_root = true" + more).format(
        sql.Literal(PUBLISH)
    )


def _tables(names: Iterable[tuple[str, str]]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*name) for name in names)
