"""Steps that make changes capturable: replica identities, and the publication of exactly the
contract's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from psycopg import sql

from stores.canonical.catalog import Leaf, Name, Publication, Table
from stores.canonical.publication import (
    GENERATED_FROM,
    create_publication,
    full_identity_types,
    publication_name,
    published_tables,
    set_publication_options,
    set_publication_tables,
    tracked_columns,
)
from stores.canonical.steps import Need, Phase, Step, table_text
from stores.contract.model import Contract, RecordType

NO_KEY = (
    "it has no key, so the application's own updates and deletes would fail once it is published:"
    " add a primary key, or set REPLICA IDENTITY FULL"
)
NOTHING = (
    "its replica identity is NOTHING, so the application's own updates and deletes would fail"
    " once it is published: set REPLICA IDENTITY DEFAULT"
)


VIRTUAL = (
    "its column {} is a virtual generated column, and Postgres refuses the application's updates"
    " and deletes of a published table whose replica identity holds such a column: {}"
)
UNTOLD = (
    "its column {} is generated, {}, and changes of a key or a foreign key must be in the log: {}"
)
INHERITING = (
    "its rows are read as the table's, but its changes are not published as the table's: detach"
    " it by NO INHERIT, or partition the table"
)
UNLOGGED = "changes of an unlogged table are not in the WAL: make it LOGGED"
HIDDEN = (
    "row level security hides rows of it from this account, and a row that cannot be read would"
    " count as deleted: use the tables' owner, or an account with BYPASSRLS"
)
NAMED = 5
"""Tables that a step about the publication names."""


def capture_steps(
    contract: Contract,
    tables: dict[Name, Table],
    publication: Publication | None,
    server_version: int,
    names: Sequence[Name] | None = None,
    *,
    followed: bool = False,
) -> Iterator[Step]:
    """`tables` are those that exist before the plan is carried out; `names`: what is to be
    published, by default the contract's tables. `followed`: they are published already, and an
    identity by which Postgres fails what the application writes gives way, whatever is told less
    by it."""
    full = full_identity_types(contract)
    wants_full = {(t.schema, t.table) for t in contract.types.values() if t.name in full}
    for record_type in contract.types.values():
        table = tables.get((record_type.schema, record_type.table))
        if table is not None and table.holds_rows:
            yield from _untold(contract, record_type, table, server_version)
            if table.secured:
                name_of_it = table_text(record_type.schema, record_type.table)
                text = f"read every row of {name_of_it}"
                yield Step(Phase.PUBLICATION, "row_security", name_of_it, text, blocked=HIDDEN)
            yield from _silent(record_type, table)
    for name in published_tables(contract):
        table = tables.get(name)
        leaves = table.leaves if table else (Leaf(name, "d", True),)
        for leaf in leaves if table is None or table.holds_rows else ():
            yield from _identity(contract, leaf, table, name in wants_full, followed)
    yield from _publication(
        contract,
        publication,
        server_version,
        published_tables(contract) if names is None else names,
    )


def _untold(
    contract: Contract, record_type: RecordType, table: Table, server_version: int
) -> Iterator[Step]:
    """Columns that the worker must read and the server does not send."""
    name = table_text(record_type.schema, record_type.table)
    for column in tracked_columns(contract, record_type):
        found = table.columns.get(column)
        if found is None or not found.generated:
            continue
        if found.virtual:
            why = UNTOLD.format(column, "when it is read", "make it STORED")
        elif server_version < GENERATED_FROM:
            why = UNTOLD.format(column, "which only Postgres 18 can publish", "use that, or none")
        else:
            continue
        yield Step(Phase.PUBLICATION, "publish_table", name, f"publish {name}", blocked=why)


def _silent(record_type: RecordType, table: Table) -> Iterator[Step]:
    """Tables whose rows are read with the type's, and whose changes nothing tells."""
    name = table_text(record_type.schema, record_type.table)
    for names, why in ((table.inheriting, INHERITING), (table.unlogged, UNLOGGED)):
        for other in names:
            text = f"follow {table_text(*other)}"
            text += f", which inherits from {name}" if names is table.inheriting else ""
            yield Step(Phase.PUBLICATION, "publish_table", name, text, blocked=why)


def _wanted_identity(contract: Contract, leaf: Leaf, table: Table | None, wants_full: bool) -> str:
    """Ours are set to what is needed and no more; those of attached tables are only ever
    widened."""
    if wants_full:
        return "f"
    if contract.managed:
        return "d"
    if leaf.identity == "i" and table is not None and not set(table.key) <= set(leaf.index_columns):
        return "f"
    return leaf.identity


def _identity(
    contract: Contract, leaf: Leaf, table: Table | None, wants_full: bool, followed: bool
) -> Iterator[Step]:
    wanted = _wanted_identity(contract, leaf, table, wants_full)
    if followed and wanted == "d" and not leaf.has_key:
        wanted = "f"
    name = table_text(*leaf.name)
    virtual = sorted(c for c, of in table.columns.items() if of.virtual) if table else []
    blocked = ""
    if wanted == "f" and virtual:
        if followed and wants_full and leaf.identity == "f" and leaf.has_key:
            # The column came later. What embeds these records is loaded anew where a change of them
            # is told in part.
            yield _set_identity(leaf, "DEFAULT")
        mend = (
            "make it STORED, or do not embed it" if wants_full else "set REPLICA IDENTITY DEFAULT"
        )
        blocked = VIRTUAL.format(", ".join(virtual), mend)
    elif not contract.managed and wanted == "n":
        blocked = NOTHING
    elif not contract.managed and wanted == "d" and not leaf.has_key:
        blocked = NO_KEY
    if wanted == leaf.identity and not blocked:
        return
    if blocked:
        text = f"publish {name}"
        yield Step(Phase.REPLICA_IDENTITY, "replica_identity", name, text, blocked=blocked)
    else:
        yield _set_identity(leaf, "FULL" if wanted == "f" else "DEFAULT")


def _set_identity(leaf: Leaf, word: str) -> Step:
    name = table_text(*leaf.name)
    return Step(
        Phase.REPLICA_IDENTITY,
        "replica_identity",
        name,
        f"set REPLICA IDENTITY {word} on {name}",
        note="updates and deletes write the whole old row to the WAL" if word == "FULL" else "",
        # FULL tells all that DEFAULT does.
        need=Need.SURPLUS if (leaf.identity, word) == ("f", "DEFAULT") else Need.NEEDED,
        action=sql.SQL("ALTER TABLE {} REPLICA IDENTITY {}").format(
            sql.Identifier(*leaf.name), sql.SQL(word)
        ),
    )


def _told(wanted: Set[tuple[str, str]], there: Set[tuple[str, str]]) -> str:
    """Return a text of the tables that come into the publication and those that leave it, a few of
    each by name."""
    told = []
    for names, word in ((wanted - there, "with"), (there - wanted, "without")):
        if names:
            shown = [table_text(*name) for name in sorted(names)[:NAMED]]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            told.append(f"{word} {', '.join(shown)}{more}")
    return f", {' and '.join(told)}" if told else ""


def _publication(
    contract: Contract, found: Publication | None, server_version: int, names: Sequence[Name]
) -> Iterator[Step]:
    name = publication_name(contract)
    wanted = set(names)
    if found is None:
        yield Step(
            Phase.PUBLICATION,
            "create_publication",
            "",
            f"create publication {name} of {len(wanted)} tables",
            action=create_publication(contract, server_version, names),
        )
        return
    if found.all_tables:
        yield Step(
            Phase.PUBLICATION,
            "alter_publication",
            "",
            f"set the tables of publication {name} to those of the contract",
            blocked=f"publication {name} was made by hand for all tables: drop it",
        )
        return
    if not found.options_as_wanted:
        text = f"make publication {name} publish every kind of change and stored generated columns"
        action = set_publication_options(contract, server_version)
        yield Step(Phase.PUBLICATION, "alter_publication", "", text, action=action)
    if found.tables != wanted or found.filtered:
        text = (
            f"set the tables of publication {name} to those of the"
            f" contract{_told(wanted, found.tables)}"
        )
        action = set_publication_tables(contract, names)
        need = Need.NEEDED if wanted - found.tables or found.filtered else Need.SURPLUS
        yield Step(Phase.PUBLICATION, "alter_publication", "", text, need=need, action=action)
