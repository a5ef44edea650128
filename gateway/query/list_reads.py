"""Lists: from the document store where request or contract allow it and the store serves them as
well as canonical, or where canonical is away; from canonical else.

Whatever answers, the answer is the same byte for byte (`list_capability`); it may be older, which
it says. What nobody has allowed to be older is canonical's as long as canonical is reached.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.context.freshness import statistics_of
from gateway.context.services import RequestContext, Services
from gateway.http.deadlines import Limit
from gateway.query.documents import ListedPage, list_page, require_values
from gateway.query.key_reads import explain, from_documents, in_its_place
from gateway.query.list_capability import ListNeeds, needs_of
from gateway.query.list_costs import MOST_READS, MOST_READS_AWAY, ListCost, cost_of_list
from gateway.query.planner import CANONICAL, Plan, documents_allowed
from gateway.shape.aggregates import AggregateShape, Measure
from gateway.shape.open_values import Deferred
from gateway.shape.orders import order_property
from gateway.shape.shapes import (
    PageInfo,
    PageShape,
    TotalCount,
    TypeName,
    Window,
    records_in,
)
from stores import json_numbers
from stores.contract.model import Contract
from stores.errors import StoreError, StoreUnavailable, TooMuchWork
from stores.query import And, Compare, Filter, ListQuery, Not, Or, Related, Statistics
from stores.roles import StoreRole
from stores.sort_texts import read_back
from stores.values import exact_in_json

Canonical = Callable[[], Awaitable[bytes | None]]

PATIENCE = 0.5
"""Seconds that canonical has where it did not answer before and the document store could."""
MOST_SHOWN = 500
"""Records of a page that is put together here while canonical is there, which prints its own."""
WORK = 0.8
"""The part of a document read's time limit that the store may work on a list."""


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A page that documents can answer. `query` asks for it up to what each request gives."""

    page: PageShape
    needs: ListNeeds
    query: ListQuery
    open: bool
    """Its filter or cursors have values that each request gives."""
    shown: tuple[tuple[str, str], ...] = ()
    """Response name → the type's name, empty for the count; of an aggregate that counts alone."""
    kept: list[tuple[Statistics, ListCost]] = field(default_factory=list, compare=False)
    """The cost by the statistics that were seen last."""

    def cost(self, statistics: Statistics) -> ListCost:
        """Return what the page costs the store; it is reckoned once for the statistics of a
        moment."""
        if not self.kept or self.kept[0][0] is not statistics:
            self.kept[:] = [(statistics, cost_of_list(self.needs, statistics))]
        return self.kept[0][1]

    @classmethod
    def of(cls, page: PageShape, shown: tuple[tuple[str, str], ...] = ()) -> PageRoute:
        window = page.window
        names = {n for f in page.fields if isinstance(f, PageInfo) for _, n in f.fields}
        query = ListQuery(
            page.type.name,
            page.filter,
            page.order,
            window.limit + 1 if _shows_records(page) else 0,
            window.backward,
            count=any(isinstance(f, TotalCount) for f in page.fields),
            look_before="hasPreviousPage" in names and window.after is not None,
            look_after="hasNextPage" in names and window.before is not None,
        )
        return cls(
            page,
            needs_of(page),
            query,
            window.after is not None or window.before is not None or _is_open(page.filter),
            shown,
        )

    def asked(self, contract: Contract, variables: Mapping[str, Any]) -> ListQuery:
        """The query of one request. Raises ValueError for a cursor whose values no document has,
        and what its values are refused with."""
        if not self.open:
            return self.query
        window, query = self.page.window, self.query
        return replace(
            query,
            filter=_settled(query.filter, variables),
            after=self._edge(contract, window.after, variables),
            before=self._edge(contract, window.before, variables),
        )

    def _edge(
        self,
        contract: Contract,
        texts: tuple[str | Deferred | None, ...] | None,
        variables: Mapping[str, Any],
    ) -> tuple[Any, ...] | None:
        if texts is None:
            return None
        page = self.page
        return tuple(
            read_back(
                order_property(contract, page.type, step),
                text.resolve(variables) if isinstance(text, Deferred) else text,
            )
            for step, text in zip(page.order, texts, strict=True)
        )


def counted_page(shape: AggregateShape) -> tuple[PageShape, tuple[tuple[str, str], ...]] | None:
    """The page whose total is all that an aggregate asks for, and what is shown of it; None where
    more is asked."""
    if shape.groups or shape.having or not shape.limit or not shape.parts:
        return None
    shown: list[tuple[str, str]] = []
    for part in shape.parts:
        if isinstance(part.value, TypeName):
            shown.append((part.key, part.value.name))
        elif isinstance(part.value, Measure) and part.value.function == "count":
            shown.append((part.key, ""))
        else:
            return None
    page = PageShape(shape.type, shape.filter, (), Window(0), (TotalCount("count"),))
    return page, tuple(shown)


def _shows_records(page: PageShape) -> bool:
    return not all(isinstance(f, TotalCount) for f in page.fields)


def _is_open(part: Filter) -> bool:
    if isinstance(part, And | Or):
        return any(_is_open(p) for p in part.parts)
    if isinstance(part, Not):
        return _is_open(part.part)
    if isinstance(part, Related):
        return _is_open(part.filter)
    return isinstance(part.value, Deferred)


def _settled(part: Filter, variables: Mapping[str, Any]) -> Filter:
    if isinstance(part, And):
        return And(tuple(_settled(p, variables) for p in part.parts))
    if isinstance(part, Or):
        return Or(tuple(_settled(p, variables) for p in part.parts))
    if isinstance(part, Not):
        return Not(_settled(part.part, variables))
    if isinstance(part, Related):
        return Related(part.relation, _settled(part.filter, variables))
    if isinstance(part.value, Deferred):
        return Compare(part.property, part.op, part.value.resolve(variables))
    return part


# Reading -----------------------------------------------------------------------------------------


async def read_list(
    context: RequestContext,
    path: str,
    planned: Plan,
    route: PageRoute,
    variables: Mapping[str, Any],
    text: str,
    canonical: Canonical,
    note: Callable[[str], None],
    *,
    strict: bool = False,
) -> tuple[bool, Any]:
    """(True, the page from the document store) or (False, canonical's JSON). `note` notes that
    canonical answered, and why no other store did. Raises StoreUnavailable where neither can
    answer, and what `canonical` raises."""
    services = context.services
    away = services.canonical_away()
    allowed = documents_allowed(route.page.type.route, context.freshness)
    tried, asked = "", False
    if allowed or away:
        reading = _Reading(context, path, planned, route, variables, strict, away)
        found, tried = await reading.run()
        asked = reading.asked
        if found is not None:
            context.rerouted = True
            return True, found
    context.rerouted = context.rerouted or bool(tried)
    note(tried)
    try:
        if asked and route.page.type.route.prefer and not away:
            # Its load is the document store's as a rule, and more than canonical may bear.
            async with in_its_place(services):
                return False, await ask_canonical(services, canonical)
        return False, await ask_canonical(services, canonical)
    except StoreUnavailable as error:
        if away:
            raise
        reading = _Reading(context, path, planned, route, variables, strict, error.message)
        found, why = await reading.run()
        if found is None:
            if context.explain:
                explain(context, path, planned, CANONICAL, [text], why)
            raise
        context.rerouted = True
        return True, found


async def ask_canonical(services: Services, canonical: Canonical) -> bytes | None:
    """Return what canonical says. Where it was not reached before, it has little time: another
    store could answer. Raises as it does, and StoreUnavailable after that time."""
    if not (services.away.doubtful or services.listener.lost):
        return await canonical()
    began = time.monotonic()
    try:
        with Limit(PATIENCE):
            return await canonical()
    except TimeoutError:
        connected = services.listener.connected
        services.away.failed(began, time.monotonic(), connected=connected)
        raise StoreUnavailable(
            "canonical is not reached", store="postgres", retry_after=1.0
        ) from None


@dataclass(slots=True)
class _Reading:
    """One try to have a page from the document store. `away`: why canonical is not asked; empty
    where it could be."""

    context: RequestContext
    path: str
    planned: Plan
    route: PageRoute
    variables: Mapping[str, Any]
    strict: bool
    away: str
    asked: bool = False
    """The store was to answer, so that what it does not answer is a fault."""

    async def run(self) -> tuple[Any, str]:
        """The page and "", or None and why not."""
        services, page = self.context.services, self.route.page
        refused = services.refusals().get(StoreRole.DOCUMENTS)
        if refused:
            return None, f"{StoreRole.DOCUMENTS}: {refused}"
        if page.type.name in services.listener.set_aside:
            return None, f"{StoreRole.DOCUMENTS}: it has refused records of {page.type.graphql}"
        if not self.away and page.window.limit > MOST_SHOWN:
            return None, f"{StoreRole.DOCUMENTS}: a page of so many records costs canonical less"
        now = time.monotonic()
        if not self.away and services.overworked.has(self.route.needs, now):
            return None, f"{StoreRole.DOCUMENTS}: it had to stop such a list a moment ago"
        try:
            query = self.route.asked(services.contract, self.variables)
            statistics = await statistics_of(services.documents, page.type.name)
        except ValueError:
            return None, f"{StoreRole.DOCUMENTS}: the cursor has a value that no document has"
        except StoreError as error:
            return None, f"{StoreRole.DOCUMENTS}: {error.message}"
        cost = self.route.cost(statistics)
        most = MOST_READS_AWAY if self.away else MOST_READS
        why = cost.why_not(most, statistics.rows)
        self._weigh(cost, most, statistics.rows, why)
        if why:
            return None, f"{StoreRole.DOCUMENTS}: {why}"
        self.asked = True
        best = self.planned.candidates[0].reason
        query = replace(query, index=cost.index, seconds=services.limits.document_timeout * WORK)
        return await from_documents(
            self.context,
            self.path,
            self.planned,
            (page.type.name,),
            lambda: self._read(query),
            freshness=self._freshness(),
            reason=f"{best}, and canonical is away" if self.away else best,
        )

    def _freshness(self) -> Any:
        """Return what the request asks, and while canonical is there the contract, too: then
        nobody waits, for canonical can answer at once."""
        asked = self.context.freshness
        if self.away:
            return asked
        most = self.route.page.type.route.max_staleness
        given = [s for s in (asked.max_staleness, most) if s is not None]
        return replace(asked, max_staleness=min(given, default=None), wait_up_to=0.0)

    def _weigh(self, cost: ListCost, most: int, rows: int | None, why: str) -> None:
        if self.context.explain:
            self.context.weights[self.path] = {
                str(StoreRole.DOCUMENTS): {
                    "reads": cost.reads,
                    "mayRead": most,
                    "records": rows,
                    "index": list(cost.index),
                    "breaker": self.context.services.guards[StoreRole.DOCUMENTS].state().value,
                }
            }

    async def _read(self, query: ListQuery) -> tuple[Any, list[str]]:
        services, page = self.context.services, self.route.page
        try:
            listed = await services.documents.page(query)
        except TooMuchWork:
            services.overworked.add(self.route.needs, time.monotonic())
            raise
        documents = [json_numbers.loads(d) for d in listed.documents]
        if self.strict:
            for record in records_in(page):
                for document in documents:
                    require_values(record, document)
        by = ", ".join(query.index) or "no index"
        if self.route.shown:
            count = exact_in_json(listed.total)
            group = {key: name or count for key, name in self.route.shown}
            return [group], [f"count {page.type.name} by {by}"]
        found = ListedPage(documents, listed.total, listed.before, listed.after)
        return list_page(services.contract, page, found), [f"list {page.type.name} by {by}"]
