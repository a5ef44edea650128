"""Finds the documents that a change touches. Pure: from the contract and the changed row's tracked
columns.

A row touches its own document, and every document that embeds it. The way from an embedded row back
to the roots is a `Reach`. Where the row itself names the root (a child whose foreign key is the
root's key), the key is known at once; else the reach is resolved against canonical, for all changes
of a batch in one statement (`sync.selection`). Both the old and the new values of a row count: a
child that moved touches the old parent and the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stores.contract.model import Contract, Embed, RecordType
from stores.keys import encode_key
from sync.changes import Change, ChangeOp, Row

Values = tuple[str, ...]
"""Text forms of a row's values in the order of `Reach.columns`; none is NULL."""


@dataclass(frozen=True, slots=True)
class Join:
    """A join on the way to the root: the rows of `type_name` whose `columns` equal `from_columns`
    of the preceding rows."""

    type_name: str
    columns: tuple[str, ...]
    from_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """The way from a row of `type_name` to the documents of `root` that embed it. It starts with
    the row's values of `columns`; the last step is at the root."""

    type_name: str
    root: str
    columns: tuple[str, ...]
    steps: tuple[Join, ...]


@dataclass(slots=True)
class Touched:
    """The documents that a batch of changes touched. `keys`: root type → keys (a dict for its
    order). `reaches`: reach → values that are still to be resolved. `emptied`: root types of which
    any document may be touched."""

    keys: dict[str, dict[str, None]] = field(default_factory=dict)
    reaches: dict[Reach, dict[Values, None]] = field(default_factory=dict)
    emptied: dict[str, None] = field(default_factory=dict)
    missed: dict[str, None] = field(default_factory=dict)
    """Root types of which records may have changed that nobody can name, also new ones."""
    reshaped: bool = False
    """True where some table is described in another way than before."""

    def __bool__(self) -> bool:
        return bool(self.keys or self.reaches or self.emptied or self.missed)


_Marker = Callable[[Change, Touched], None]


class Impact:
    """The contract's rules, prepared for each table."""

    def __init__(self, contract: Contract) -> None:
        self.reaches = reaches(contract)
        self._markers: dict[tuple[str, str], list[_Marker]] = {}
        for record_type in contract.types.values():
            own = [r for r in self.reaches if r.type_name == record_type.name]
            markers = self._markers.setdefault((record_type.schema, record_type.table), [])
            markers.append(_marker(contract, record_type, own))

    def touch(self, changes: Iterable[Change], touched: Touched) -> None:
        """Add what `changes` touch. Changes of tables that the contract does not have touch
        nothing."""
        markers = self._markers
        for change in changes:
            for marker in markers.get((change.schema, change.table), ()):
                marker(change, touched)


def reaches(contract: Contract) -> list[Reach]:
    """Return every way from an embedded record back to its roots, each once."""
    found: dict[Reach, None] = {}

    def walk(
        root: RecordType, owner: RecordType, embeds: tuple[Embed, ...], back: tuple[Join, ...]
    ) -> None:
        for embed in embeds:
            relation = owner.relation_by_name[embed.relation]
            target = contract.types[relation.target]
            steps = (Join(owner.name, relation.columns, relation.target_columns), *back)
            found[Reach(target.name, root.name, relation.target_columns, steps)] = None
            walk(root, target, embed.embeds, steps)

    for root in contract.types.values():
        walk(root, root, root.embeds, ())
    return list(found)


def _marker(contract: Contract, record_type: RecordType, own: list[Reach]) -> _Marker:
    name = record_type.name
    key_of = key_reader(record_type.key)
    direct: list[tuple[str, Callable[[Row], str | None]]] = []
    indirect: list[Reach] = []
    for reach in own:
        order = _names_the_root(contract, reach)
        if order is None:
            indirect.append(reach)
        else:
            direct.append((reach.root, key_reader(order)))
    embedding: dict[str, None] = dict.fromkeys(r.root for r in own)
    emptied: dict[str, None] = {name: None} | embedding

    def of_the_table(op: ChangeOp, touched: Touched) -> None:
        if op is ChangeOp.TRUNCATE:
            touched.emptied |= emptied
        elif op is ChangeOp.UNTOLD:
            touched.missed |= emptied
        elif op is ChangeOp.UNTOLD_OLD:
            touched.missed |= embedding
        elif op is ChangeOp.RESHAPED:
            touched.reshaped = True

    def mark(change: Change, touched: Touched) -> None:
        new, old = change.new, change.old
        if not new and not old:
            of_the_table(change.op, touched)
            return
        for row in (new, old):
            if not row:
                continue
            key = key_of(row)
            if key is not None:
                touched.keys.setdefault(name, {})[key] = None
            for root, root_key_of in direct:
                root_key = root_key_of(row)
                if root_key is not None:
                    touched.keys.setdefault(root, {})[root_key] = None
            for reach in indirect:
                values = _values(row, reach.columns)
                if values is not None:
                    touched.reaches.setdefault(reach, {})[values] = None

    return mark


def _names_the_root(contract: Contract, reach: Reach) -> tuple[str, ...] | None:
    """Return the changed row's columns that hold the root's key, in key order, or None if it does
    not hold it."""
    if len(reach.steps) != 1:
        return None
    step, root = reach.steps[0], contract.types[reach.root]
    if set(step.columns) != set(root.key):
        return None
    by_root = dict(zip(step.columns, step.from_columns, strict=True))
    return tuple(by_root[c] for c in root.key)


def key_reader(columns: tuple[str, ...]) -> Callable[[Row], str | None]:
    """Return the function that gives the key of a row that has `columns`; it returns None if one
    is NULL or unknown."""
    if len(columns) == 1:
        column = columns[0]
        return lambda row: row.get(column)

    def read(row: Row) -> str | None:
        values = _values(row, columns)
        return None if values is None else encode_key(values)

    return read


def _values(row: Row, columns: tuple[str, ...]) -> Values | None:
    """Return the values of `columns`, or None if one is NULL or unknown."""
    values = [row.get(c) for c in columns]
    return None if None in values else tuple(values)  # type: ignore[arg-type]
