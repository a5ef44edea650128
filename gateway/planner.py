"""Which stores can answer a root field with the same meaning, best first, and why the others cannot. Pure:
whether a store is up and fresh enough is seen when it is asked."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.documents import why_not_document
from gateway.shapes import KeyShape, PageShape
from gateway.visibility import Visibility
from stores.protocols import Capability

CANONICAL = "canonical"
DOCUMENTS = "documents"


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
    """`candidates`: at least one, canonical last."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...] = ()


def plan(
    shape: KeyShape | PageShape,
    visibility: Visibility,
    documents: frozenset[Capability],
    *,
    bytewise: bool,
) -> Plan:
    """`documents`: what the document store can do. `bytewise`: canonical orders text as stores do."""
    text = Rejected("search", "no text is searched")
    if isinstance(shape, PageShape):
        why = "lists, filters and orders are canonical's"
        return Plan((Candidate(CANONICAL, why),), (Rejected(DOCUMENTS, "no key is given"), text))
    why = ""
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
        return Plan((Candidate(CANONICAL, why),), (Rejected(DOCUMENTS, why), text))
    return Plan(
        (
            Candidate(DOCUMENTS, "key read"),
            Candidate(CANONICAL, "the document store does not answer"),
        ),
        (text,),
    )


AGGREGATES = Plan(
    (Candidate(CANONICAL, "aggregates are canonical's"),),
    (Rejected(DOCUMENTS, "it cannot aggregate"), Rejected("search", "no text is searched")),
)
