"""A GraphQL operation as a stream of answers, whatever carries it: a subscription's events, or the
one answer of a query or mutation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import orjson
from graphql import GraphQLError

from gateway.context.freshness import required_commit
from gateway.context.services import Freshness, RequestContext, Services, Viewer
from gateway.graphql.protocol import GraphQLRequest
from gateway.graphql.subscription_plan import (
    Event,
    OwnSubscription,
    Refused,
    SubscriptionPlan,
    make_subscription,
)
from gateway.graphql.subscriptions import Hub
from gateway.http.deadlines import Limit
from gateway.http.metrics import Metrics
from gateway.http.problems import HttpProblem
from gateway.query.compiled import respond
from gateway.query.execute import ServedSchema, formatted
from gateway.query.record_access import Records
from stores.errors import RecordgateError


class Failed(Exception):
    """The operation ends with errors. `errors`: as GraphQL has them, formatted."""

    def __init__(self, errors: list[Mapping[str, Any]]) -> None:
        super().__init__(str(errors[0].get("message")))
        self.errors = errors

    @property
    def code(self) -> str:
        return str(self.errors[0].get("extensions", {}).get("code", "INTERNAL"))

    @classmethod
    def by(cls, context: RequestContext, *errors: BaseException) -> Failed:
        """`errors` as the viewer may see them."""
        return cls(formatted(context, errors))


@dataclass(frozen=True, slots=True)
class Opened:
    """`lasting`: a subscription, not the one answer of a query or mutation."""

    events: AsyncGenerator[Event, None]
    lasting: bool


class Streams:
    """Opens streams over one schema and hub."""

    def __init__(
        self, services: Services, schema: ServedSchema, hub: Hub, metrics: Metrics
    ) -> None:
        self.services, self.schema, self.hub, self.metrics = services, schema, hub, metrics

    async def open(
        self, viewer: Viewer, asked: GraphQLRequest, freshness: Freshness, *, after: str = ""
    ) -> Opened:
        """The answers as they come; nothing has been waited for in vain when this returns.
        `after`: where to go on, unless the operation says so itself. Raises Failed, Ended; so do
        the events."""
        context = RequestContext(self.services, viewer, freshness)
        await self.schema.parsed.read(self.schema.graphql, asked.query, self.services.limits)
        try:
            plan = make_subscription(
                self.schema, context, asked.query, asked.variables, asked.operation_name
            )
            if plan is None:
                return Opened(self._one(context, asked), lasting=False)
            if isinstance(plan, OwnSubscription):
                context.document = plan.document
                return Opened(self._own(context, asked), lasting=True)
            if after and plan.after is None:
                plan = replace(plan, after=after)
            if plan.after is not None:
                required_commit(Freshness(after=plan.after), self.services)
            same = (
                asked.query,
                asked.operation_name,
                orjson.dumps(asked.variables, option=orjson.OPT_SORT_KEYS),
                viewer.name,
                viewer.roles,
            )
            events = self._events(context, plan, same)
            await anext(events)  # subscribed
        except Refused as error:
            raise Failed.by(context, *error.errors) from None
        except (RecordgateError, GraphQLError) as error:
            raise Failed.by(context, error) from None
        return Opened(events, lasting=True)

    async def _one(
        self, context: RequestContext, asked: GraphQLRequest
    ) -> AsyncGenerator[Event, None]:
        if asked.read_only:
            raise Failed.by(
                context,
                HttpProblem(
                    "METHOD_NOT_ALLOWED",
                    "only a POST streams queries and mutations",
                    hint="use POST",
                ),
            )
        try:
            with Limit(self.services.limits.request_seconds):
                answer = await respond(
                    self.schema, context, asked.query, asked.variables, asked.operation_name
                )
        except TimeoutError as error:
            raise Failed.by(context, error) from None
        stores = {str(route["store"]) for route in context.routes.values()}
        self.metrics.count(context.operation or "graphql", stores, answer.code)
        yield Event(answer.body, context.token or "")

    async def _own(
        self, context: RequestContext, asked: GraphQLRequest
    ) -> AsyncGenerator[Event, None]:
        """The events of a subscription field that the product adds."""
        records = context.records = Records(self.schema, context)
        code = "OK"
        try:
            results = await self.schema.strawberry.subscribe(
                asked.query,
                variable_values=dict(asked.variables),
                context_value=context,
                operation_name=asked.operation_name,
            )
            async with aclosing(self.hub.own(results)) as events:
                async for result in events:
                    answer: dict[str, Any] = {"data": result.data}
                    if result.errors:
                        answer["errors"] = formatted(context, result.errors)
                        code = str(answer["errors"][0]["extensions"]["code"])
                        if result.data is None:
                            raise Failed(answer["errors"])
                    yield Event(orjson.dumps(answer), "")
                    records.renew()
        except RecordgateError as error:
            failed = Failed.by(context, error)
            code = failed.code
            raise failed from None
        finally:
            self.metrics.count("subscription", (), code)

    async def _events(
        self, context: RequestContext, plan: SubscriptionPlan, same: Any
    ) -> AsyncGenerator[Event, None]:
        """First an empty event: it has begun."""
        subscription = await self.hub.subscribe(plan, same)
        code = "OK"
        try:
            yield Event(b"", "")
            while True:
                yield await subscription.next()
        except RecordgateError as error:
            failed = Failed.by(context, error)
            code = failed.code
            raise failed from None
        finally:
            self.hub.leave(subscription, same)
            self.metrics.count("subscription", ("canonical",), code)
