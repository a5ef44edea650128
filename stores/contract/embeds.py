"""`embed` of a type: which relations' records stand inside its document, and how deep.

embed: [country, "country.continent", {relation: orders, embed: [items]}]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from stores.contract import names
from stores.contract.draft import Draft
from stores.contract.extensions import suggestion, wrong
from stores.contract.model import Embed, Relation
from stores.contract.node import Node
from stores.contract.options import OPTIONS

MAX_DEPTH = 3
_HINT = 'a list of relations: [country, "country.continent", {relation: orders, embed: [items]}]'

_Tree: TypeAlias = "dict[str, _Tree]"


def resolve_embeds(draft: Draft, drafts: Mapping[str, Draft]) -> tuple[Embed, ...]:
    """The tree of embedded relations of `draft`."""
    at = draft.extensions.get("embed")
    if at is None:
        return ()
    tree: _Tree = {}
    _read(at, draft, (draft.name,), drafts, tree)
    return _embeds(tree)


def _embeds(tree: _Tree) -> tuple[Embed, ...]:
    return tuple(Embed(name, _embeds(below)) for name, below in tree.items())


def _read(
    at: Node, draft: Draft, path: tuple[str, ...], drafts: Mapping[str, Draft], into: _Tree
) -> None:
    """Merge the list at `at`, of relations of `draft`, into `into`."""
    if not isinstance(at.data, list):
        wrong(at, "`embed` must be a list of relations", _HINT)
        return
    for entry in at:
        if isinstance(entry.data, str):
            _follow(entry, entry.data.split("."), None, draft, path, drafts, into)
        elif isinstance(entry.data, dict):
            for key, value in entry.entries():
                if key not in OPTIONS["embed"]:
                    wrong(value, f"`embed` has no `{key}`", _HINT)
            relation = entry.get("relation")
            if isinstance(relation.data, str):
                below = entry.get("embed") if entry.has("embed") else None
                _follow(relation, relation.data.split("."), below, draft, path, drafts, into)
            else:
                wrong(entry, "an entry of `embed` does not name a relation", _HINT)
        else:
            wrong(entry, "an entry of `embed` must be a relation", _HINT)


def _follow(
    at: Node,
    steps: list[str],
    below: Node | None,
    draft: Draft,
    path: tuple[str, ...],
    drafts: Mapping[str, Draft],
    into: _Tree,
) -> None:
    for step in steps:
        name = names.camel(step)
        relation = next((r for r in draft.relations if r.name == name), None)
        if relation is None:
            known = [r.name for r in draft.relations]
            hint = suggestion(step, known) if known else "it has no relations"
            at.report("UNKNOWN_RELATION", f"{draft.name!r} has no relation {step!r}", hint)
            return
        if relation.target in path:
            at.report(
                "EMBED_CYCLE",
                f"{' → '.join((*path, relation.target))}: the document would contain its own type",
                "remove it; callers can still query it as a GraphQL field",
            )
            return
        if len(path) > MAX_DEPTH:
            at.report(
                "EMBED_TOO_DEEP",
                f"embedded deeper than {MAX_DEPTH} relations",
                "remove it; callers can still query it as a GraphQL field",
            )
            return
        _look_at_key(at, draft, relation, drafts[relation.target])
        path = (*path, relation.target)
        into = into.setdefault(name, {})
        draft = drafts[relation.target]
    if below is not None:
        _read(below, draft, path, drafts, into)


def _look_at_key(at: Node, draft: Draft, relation: Relation, target: Draft) -> None:
    """Say where the relation's key is hidden from some: what is embedded over it would tell it, so
    that the documents serve these callers nothing of it, and its changes make no event for them."""
    ends = [(draft, c) for c in relation.columns] + [(target, c) for c in relation.target_columns]
    hidden = [f"{d.name}.{p.name}" for d, c in ends if (p := d.by_column(c)).restricted]
    if hidden:
        at.report(
            "EMBED_HIDDEN_KEY",
            f"{relation.name!r} is embedded by {', '.join(hidden)}, which not every role may see:"
            " other roles neither see the embedded records nor get their changes",
            "remove it from `embed`, or allow the roles that need the records to read the key",
            severity="warning",
        )
