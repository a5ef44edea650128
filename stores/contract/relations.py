"""Relationships of the contract → relations of both types, each with its name in either
direction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stores.contract import names
from stores.contract.addresses import is_foreign
from stores.contract.draft import Draft
from stores.contract.extensions import extensions, suggestion, text_value, wrong
from stores.contract.foreign import add_foreign
from stores.contract.model import Property, Relation, Scalar
from stores.contract.node import Node
from stores.contract.options import CARDINALITIES
from stores.contract.references import resolve_reference

_SUFFIX = re.compile(
    r"(?:[_-]?(?:id|code|key|fk)|(?<=[a-z0-9])(?:Id|ID|Code|Key|Fk|FK))\Z", re.IGNORECASE
)


@dataclass(slots=True)
class DeclaredForeignKey:
    """A relationship whose two ends are found."""

    node: Node
    source: Draft
    columns: tuple[str, ...]
    target: Draft
    target_columns: tuple[str, ...]
    wanted: str
    inverse: str
    one_to_one: bool
    name: str = ""

    @property
    def self_referential(self) -> bool:
        return self.source is self.target


def resolve_relations(drafts: Sequence[Draft]) -> None:
    """Fill `relations` of every draft."""
    keys: list[DeclaredForeignKey] = []
    abroad: list[tuple[Node, Draft, list[tuple[Draft, Property]]]] = []
    for draft in drafts:
        for declared in draft.declared:
            for node in declared.node.items("relationships"):
                if is_foreign(node.get("to").data):
                    abroad.append((node, draft, [(draft, declared.property)]))
                    continue
                found = _ends(node, draft, [(draft, declared.property)], drafts)
                _keep(found, keys)
        for node in draft.node.items("relationships"):
            sources = _references(node.get("from"), drafts)
            if sources is not None and is_foreign(node.get("to").data):
                abroad.append((node, draft, sources))
            elif sources is not None:
                _keep(_ends(node, draft, sources, drafts), keys)
    for fk in keys:
        if fk.one_to_one:
            _make_unique(fk)
    for fk in sorted(keys, key=lambda fk: not fk.wanted):  # explicit names first
        _name(fk, keys)
    for fk in sorted(keys, key=lambda fk: not fk.inverse):
        _add_inverse(fk, keys)
    own = {
        name
        for draft in drafts
        for space, name in names.generated_names(draft.graphql, draft.single, draft.plural)
        if space == "type"
    }
    for node, draft, sources in abroad:
        add_foreign(node, draft, sources, own)


def _keep(found: DeclaredForeignKey | None, keys: list[DeclaredForeignKey]) -> None:
    if found is None:
        return
    for other in keys:
        if (other.source, other.columns, other.target) == (
            found.source,
            found.columns,
            found.target,
        ) and other.target_columns == found.target_columns:
            found.node.report("DUPLICATE_RELATIONSHIP", "this relationship is declared twice")
            return
    keys.append(found)


def _references(at: Node, drafts: Sequence[Draft]) -> list[tuple[Draft, Property]] | None:
    """Return what one reference, or each of a list of them, points to; None where one of them is
    dangling."""
    nodes = list(at) if isinstance(at.data, list) else [at]
    found = [resolve_reference(node, drafts) for node in nodes]
    return [f for f in found if f is not None] if found and all(found) else None


def _ends(
    node: Node, owner: Draft, sources: list[tuple[Draft, Property]], drafts: Sequence[Draft]
) -> DeclaredForeignKey | None:
    targets = _references(node.get("to"), drafts)
    if targets is None or not _fit(node, owner, sources, targets):
        return None
    columns = tuple(p.column for _, p in sources)
    found = extensions(node, "relationship")
    cardinality = text_value(found, "cardinality") or CARDINALITIES[0]
    if cardinality not in CARDINALITIES:
        wrong(
            found["cardinality"],
            f"no such cardinality: {cardinality!r}",
            suggestion(cardinality, CARDINALITIES),
        )
    inverse = names.camel(text_value(found, "inverse"))
    if "inverse" in found and not names.GRAPHQL_NAME.match(inverse):
        wrong(found["inverse"], "`inverse` must be a name of ASCII letters and digits")
        inverse = ""
    return DeclaredForeignKey(
        node,
        owner,
        columns,
        targets[0][0],
        tuple(p.column for _, p in targets),
        wanted=names.camel(node.text("id")),
        inverse=inverse,
        one_to_one=cardinality == CARDINALITIES[1] or owner.is_unique(columns),
    )


def _fit(
    node: Node,
    owner: Draft,
    sources: Sequence[tuple[Draft, Property]],
    targets: Sequence[tuple[Draft, Property]],
) -> bool:
    """Return whether a foreign key of the type `owner` can lead from `sources` to `targets`; report
    the first reason why not."""
    to = node.get("to")
    at_to = to if to.data is not None else node
    if any(draft is not owner for draft, _ in sources):
        node.get("from").report(
            "DANGLING_RELATIONSHIP", f"`from` must name properties of {owner.name!r}"
        )
        return False
    target = targets[0][0]
    if any(draft is not target for draft, _ in targets):
        at_to.report("DANGLING_RELATIONSHIP", "`to` must name properties of one type")
        return False
    if len(sources) != len(targets):
        at_to.report(
            "RELATIONSHIP_TYPE",
            f"{len(sources)} propert{'y' if len(sources) == 1 else 'ies'} cannot point to"
            f" {len(targets)}",
            "a key of several properties is declared on the type, with lists in `from` and `to`",
        )
        return False
    if any(len({p.column for _, p in end}) < len(end) for end in (sources, targets)):
        at_to.report("RELATIONSHIP_TYPE", "a relationship names the same property twice")
        return False
    for (_, source), (_, pointed) in zip(sources, targets, strict=True):
        if not _comparable(source, pointed):
            at_to.report(
                "RELATIONSHIP_TYPE",
                f"{source.name} is {source.sql_type}, but {target.name}.{pointed.name} is"
                f" {pointed.sql_type}",
                "give both ends the same type",
            )
            return False
    if not target.is_unique(tuple(p.column for _, p in targets)):
        at_to.report(
            "NOT_UNIQUE",
            f"{', '.join(p.name for _, p in targets)} of {target.name!r} is neither its"
            " primary key nor unique",
            "point to the primary key, or mark the property `unique: true`",
        )
        return False
    return True


def _comparable(a: Property, b: Property) -> bool:
    whole = (Scalar.INT, Scalar.BIGINT)
    if a.array or b.array or a.scalar in (Scalar.JSON, Scalar.FLOAT):
        return False
    return a.scalar is b.scalar or (a.scalar in whole and b.scalar in whole)


def _make_unique(fk: DeclaredForeignKey) -> None:
    """A one-to-one relationship is one that the table keeps: its columns become unique."""
    if fk.source.is_unique(fk.columns):
        return
    if len(fk.columns) > 1:
        fk.source.unique_together.append(fk.columns)
        return
    for declared in fk.source.declared:
        if declared.property.column == fk.columns[0]:
            index = fk.source.declared.index(declared)
            fk.source.declared[index] = replace(
                declared, property=replace(declared.property, unique=True)
            )


def _name(fk: DeclaredForeignKey, keys: list[DeclaredForeignKey]) -> None:
    """Decide the owner's relation name, and add the relation (its inverse still open)."""
    if fk.wanted:
        name = fk.wanted
        at = fk.node.get("id")
        if not names.GRAPHQL_NAME.match(name):
            at.report("BAD_NAME", f"the relationship's id {at.data!r} has no GraphQL form")
            name = _derived(fk, keys)
        elif fk.source.taken(name):
            at.report(
                "DUPLICATE_NAME",
                f"{fk.source.name!r} has a property or relation {name!r} already",
                "give the relationship another `id`",
            )
            name = _derived(fk, keys)
    else:
        name = _derived(fk, keys)
    fk.name = name
    fk.source.relations.append(
        Relation(
            name=name,
            graphql=name,
            target=fk.target.name,
            columns=fk.columns,
            target_columns=fk.target_columns,
            many=False,
            owner=True,
            inverse="",
            required=all(fk.source.by_column(c).required for c in fk.columns),
        )
    )


def _derived(fk: DeclaredForeignKey, keys: list[DeclaredForeignKey]) -> str:
    """The target's name where nothing else points there, else the property's name without Id."""
    source = fk.source
    alone = sum(k.source is source and k.target is fk.target for k in keys) == 1
    if alone and not fk.self_referential and not source.taken(fk.target.single):
        return fk.target.single
    first = source.by_column(fk.columns[0])
    stem = names.camel(_SUFFIX.sub("", first.name))
    if len(fk.columns) == 1 and names.GRAPHQL_NAME.match(stem) and not source.taken(stem):
        return stem
    return _free(source, first.graphql + "Ref")


def _free(draft: Draft, name: str) -> str:
    """`name`, or with a number behind it where it is taken."""
    candidate, n = name, 2
    while draft.taken(candidate):
        candidate, n = f"{name}{n}", n + 1
    return candidate


def _add_inverse(fk: DeclaredForeignKey, keys: list[DeclaredForeignKey]) -> None:
    """Decide the inverse's name, add it to the target, and tell the owner."""
    source, target = fk.source, fk.target
    base = source.single if fk.one_to_one else source.plural
    if fk.inverse:
        name = fk.inverse
        if target.taken(name):
            fk.node.report(
                "DUPLICATE_NAME",
                f"{target.name!r} has a property or relation {name!r} already",
                "give the relationship another `inverse`",
            )
            name = _free(target, name)
    else:
        # Two keys to one target must not depend on which of them stands first.
        rivals = sum(k.source is source and k.target is target and not k.inverse for k in keys)
        if rivals == 1 and not target.taken(base):
            name = base
        elif fk.self_referential and fk.name == "parent" and not target.taken("children"):
            name = "children"
        else:
            name = _free(target, f"{base}By{names.pascal(fk.name)}")
    for i, relation in enumerate(source.relations):
        if relation.owner and relation.name == fk.name and not relation.inverse:
            source.relations[i] = replace(relation, inverse=name)
            break
    target.relations.append(
        Relation(
            name=name,
            graphql=name,
            target=source.name,
            columns=fk.target_columns,
            target_columns=fk.columns,
            many=not fk.one_to_one,
            owner=False,
            inverse=fk.name,
        )
    )
