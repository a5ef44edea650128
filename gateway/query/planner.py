"""Plans the route of a root field: the stores that can answer it with the same meaning, best first,
and why the others cannot; and the one that is asked, given which stores are refused now (`chosen`).
Pure: whether a store is fresh enough is seen when it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.context.services import Freshness
from gateway.query.documents import why_not_document
from gateway.query.list_capability import Texts, why_not_list
from gateway.shape.shapes import KeyShape, PageShape
from gateway.shape.visibility import Visibility
from stores.contract.model import Route
from stores.protocols import Capability
from stores.roles import StoreRole

CANONICAL = "canonical"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A store (by role) that can answer, and the reason to take it."""

    store: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    store: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`candidates`: at least one, canonical last. Of a page the first is a store that could answer;
    whether it may depends on what each request allows."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...] = ()


NO_TEXT = Rejected(StoreRole.SEARCH, "no text is searched")
AGGREGATES = Plan(
    (Candidate(CANONICAL, "aggregates are canonical's"),),
    (
        Rejected(StoreRole.DOCUMENTS, "it cannot aggregate"),
        NO_TEXT,
    ),
)
KEY_READ = Plan(
    (
        Candidate(StoreRole.DOCUMENTS, "key read"),
        Candidate(CANONICAL, "the document store does not answer"),
    ),
    (NO_TEXT,),
)


LISTED, COUNTED = "list", "count"
PREFERRED = "the contract prefers canonical"
NOT_ALLOWED = "it is as of now, unless request or contract allow an older answer"
PAGE = Plan(
    (Candidate(StoreRole.DOCUMENTS, LISTED), Candidate(CANONICAL, NOT_ALLOWED)),
    (NO_TEXT,),
)
COUNT = Plan(
    (Candidate(StoreRole.DOCUMENTS, COUNTED), Candidate(CANONICAL, NOT_ALLOWED)),
    (NO_TEXT,),
)
"""A count alone, which is that of a list."""


def plan(
    shape: KeyShape | PageShape,
    visibility: Visibility,
    documents: frozenset[Capability],
    *,
    bytewise: bool,
) -> Plan:
    """`documents`: what the document store can do. `bytewise`: canonical orders text as stores
    do."""
    why = ""
    if isinstance(shape, PageShape):
        texts = Texts(bytewise, visibility.contract.managed)
        why = why_not_list(shape, visibility, documents, texts)
        if why:
            return Plan((Candidate(CANONICAL, why),), (Rejected(StoreRole.DOCUMENTS, why), NO_TEXT))
        return PAGE
    if not shape.plain:
        why = "the key is not in the form that documents are kept under"
    why = why or why_not_document(
        shape.record,
        shape.record.type.embeds,
        visibility,
        children=Capability.CHILDREN in documents,
        bytewise=bytewise,
    )
    if why:
        return Plan((Candidate(CANONICAL, why),), (Rejected(StoreRole.DOCUMENTS, why), NO_TEXT))
    return KEY_READ


def documents_allowed(route: Route, asked: Freshness) -> bool:
    """Return whether what canonical could answer as of now may come from the document store, which
    is a little behind: the contract prefers that store, or, where it says nothing, the request
    allows an age. How old it may be is looked at when the store is asked."""
    if route.prefer:
        return route.prefer[0] == StoreRole.DOCUMENTS
    return bool(asked.max_staleness)


def chosen(planned: Plan, refused: Mapping[str, str]) -> tuple[Candidate, str]:
    """The best candidate that is not in `refused` (store → why; the breakers' state), canonical at
    last; and why the best of all is not taken, "" where it is."""
    best = planned.candidates[0]
    if not refused or best.store not in refused:
        return best, ""
    why = f"{best.store}: {refused[best.store]}"
    for candidate in planned.candidates[1:]:
        if candidate.store not in refused:
            return candidate, why
    return planned.candidates[-1], why
