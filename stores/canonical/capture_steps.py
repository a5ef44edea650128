"""Steps that make changes capturable: replica identities, and the publication of exactly the contract's tables."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from stores.canonical.catalog import Leaf, Name, Publication, Table
from stores.canonical.publication import (
    create_publication,
    full_identity_types,
    publication_name,
    published_tables,
    set_publication_options,
    set_publication_tables,
)
from stores.canonical.steps import Phase, Step, table_text
from stores.contract.model import Contract

NO_KEY = (
    "it has no key, so the application's own updates and deletes would fail once it is published:"
    " add a primary key, or set REPLICA IDENTITY FULL"
)
NOTHING = (
    "its replica identity is NOTHING, so the application's own updates and deletes would fail once it"
    " is published: set REPLICA IDENTITY DEFAULT"
)


def capture_steps(
    contract: Contract, tables: dict[Name, Table], publication: Publication | None
) -> Iterator[Step]:
    """`tables` are those that exist before the plan is carried out."""
    full = full_identity_types(contract)
    wants_full = {(t.schema, t.table) for t in contract.types.values() if t.name in full}
    for name in published_tables(contract):
        table = tables.get(name)
        leaves = table.leaves if table else (Leaf(name, "d", True),)
        for leaf in leaves if table is None or table.holds_rows else ():
            yield from _identity(leaf, name in wants_full, contract.managed)
    yield from _publication(contract, publication)


def _identity(leaf: Leaf, wants_full: bool, managed: bool) -> Iterator[Step]:
    """Ours are set to what is needed and no more; those of attached tables are only ever widened."""
    if wants_full:
        wanted = "f"
    elif managed:
        wanted = "d"
    else:
        wanted = leaf.identity
    name = table_text(*leaf.name)
    blocked = ""
    if not managed and wanted != "f":
        blocked = NOTHING if wanted == "n" else NO_KEY if wanted == "d" and not leaf.has_key else ""
    if wanted == leaf.identity and not blocked:
        return
    word = "FULL" if wanted == "f" else "DEFAULT"
    text = f"set REPLICA IDENTITY {word} on {name}" if not blocked else f"publish {name}"
    yield Step(
        Phase.REPLICA_IDENTITY,
        "replica_identity",
        name,
        text,
        blocked=blocked,
        note="updates and deletes write the whole old row to the WAL" if wanted == "f" else "",
        action=sql.SQL("ALTER TABLE {} REPLICA IDENTITY {}").format(
            sql.Identifier(*leaf.name), sql.SQL(word)
        ),
    )


def _publication(contract: Contract, found: Publication | None) -> Iterator[Step]:
    name = publication_name(contract)
    wanted = set(published_tables(contract))
    if found is None:
        yield Step(
            Phase.PUBLICATION,
            "create_publication",
            "",
            f"create publication {name} of {len(wanted)} tables",
            action=create_publication(contract),
        )
        return
    if found.all_tables:
        yield Step(
            Phase.PUBLICATION,
            "alter_publication",
            "",
            f"publish exactly the contract's tables in {name}",
            blocked=f"publication {name} was made by hand for all tables: drop it",
        )
        return
    if not found.options_as_wanted:
        text = f"let publication {name} publish inserts, updates, deletes and truncates"
        action = set_publication_options(contract)
        yield Step(Phase.PUBLICATION, "alter_publication", "", text, action=action)
    if found.tables != wanted or found.filtered:
        more, less = len(wanted - found.tables), len(found.tables - wanted)
        text = f"publish exactly the contract's tables in {name} ({more} more, {less} fewer)"
        action = set_publication_tables(contract)
        yield Step(Phase.PUBLICATION, "alter_publication", "", text, action=action)
