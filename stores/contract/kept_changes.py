"""`changes` of a type: how long its changes are kept for those who follow it."""

from __future__ import annotations

from collections.abc import Mapping

from stores.contract.collect import seconds_of
from stores.contract.draft import Draft
from stores.contract.extensions import unknown_key, whole_value, wrong
from stores.contract.model import Embed, KeptChanges
from stores.contract.node import Node
from stores.contract.options import OPTIONS
from stores.contract.row_filters import MAX_DEPTH

MAX_KEPT = 1_000_000_000
LONGEST = 3660 * 86400.0


def kept_changes_value(
    draft: Draft, drafts: Mapping[str, Draft], embeds: tuple[Embed, ...]
) -> KeptChanges | None:
    """Return what `changes` says; what is wrong with it becomes findings. A row filter that
    follows a relation is known to have another answer only where the relation is embedded: of
    others no change is told."""
    at = draft.extensions.get("changes")
    if at is None:
        return None
    if not isinstance(at.data, dict):
        wrong(at, "`changes` must be a mapping", "changes: {keep: 7d}")
        return None
    keep, most = KeptChanges().keep, KeptChanges().most
    for key, value in at.entries():
        if key == "keep":
            found = seconds_of(value.data)
            if found is None or not 60 <= found <= LONGEST:
                wrong(value, "`keep` is a duration such as 12h, 7d, of a minute at least")
            else:
                keep = found
        elif key == "records":
            most = whole_value(value, "records", 1, MAX_KEPT, most)
        else:
            unknown_key(value, "changes", key, OPTIONS["changes"])
    filters = draft.extensions.get("rowFilter")
    if filters is not None and isinstance(filters.data, dict):
        for role, value in filters.entries():
            for path in _followed(value, draft, drafts, ()):
                if not _embedded(path, embeds):
                    wrong(
                        at,
                        f"the row filter of {role!r} follows {'.'.join(path)}, which is not"
                        " embedded: when a record enters or leaves it would not be seen",
                        f"add {'.'.join(path)!r} to `embed`",
                    )
    return KeptChanges(keep, most)


def _followed(
    at: Node, draft: Draft, drafts: Mapping[str, Draft], before: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """The paths of relations that a filter of records of `draft` follows."""
    found: list[tuple[str, ...]] = []
    if isinstance(at.data, list):
        for part in at:
            found += _followed(part, draft, drafts, before)
    elif isinstance(at.data, dict) and len(before) < MAX_DEPTH:
        for key, value in at.entries():
            relation = next((r for r in draft.relations if r.name == key), None)
            if key in ("and", "or", "not"):
                found += _followed(value, draft, drafts, before)
            elif relation is not None:
                path = (*before, key)
                found += [path, *_followed(value, drafts[relation.target], drafts, path)]
    return found


def _embedded(path: tuple[str, ...], embeds: tuple[Embed, ...]) -> bool:
    for name in path:
        found = next((e for e in embeds if e.relation == name), None)
        if found is None:
            return False
        embeds = found.embeds
    return True
