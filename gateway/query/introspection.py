"""Questions about the schema itself. They are answered by graphql-core alone, without a store, in a
time that grows with the schema and with what is selected of it: off the event loop, one at a time,
and within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
)
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from stores.errors import LimitError

TOO_MUCH_OF_THE_SCHEMA = LimitError(
    "the query asks for too much of the schema", hint="ask for it once in a request"
)

FIELDS_EACH = 30
"""Fields of an answer for each named thing of the schema, about three times as many as the standard
introspection query selects: who needs a schema needs it once in a request."""

_reader = ThreadPoolExecutor(1, thread_name_prefix="graphql-schema")
_most: WeakKeyDictionary[GraphQLSchema, int] = WeakKeyDictionary()


def most_fields(schema: GraphQLSchema) -> int:
    """Return how many fields about the schema one answer may have."""
    known = _most.get(schema)
    if known is None:
        known = _most[schema] = FIELDS_EACH * _named(schema)
    return known


def _named(schema: GraphQLSchema) -> int:
    """The types of a schema, their fields, arguments and values."""
    count = 0
    for kind in schema.type_map.values():
        count += 1
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            count += sum(1 + len(field.args) for field in kind.fields.values())
        elif isinstance(kind, GraphQLInputObjectType):
            count += len(kind.fields)
        elif isinstance(kind, GraphQLEnumType):
            count += len(kind.values)
    return count


class Finished(dict[str, Any]):
    """A record of an abstract type that holds just what is selected of it, by response name, as it
    is answered."""


class FinishedList(list[Any]):
    """A list of an abstract type all of whose entries are `Finished`, or null as its type
    allows."""


class SchemaExecutor(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's execution. What is `Finished` is taken as it is. Where the operation
    asks for the schema it counts the fields that are about it, in `context.schema_fields`, and
    answers none of them beyond the bound: the caller looks at the count."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if getattr(self.context_value, "introspects", False):
            self._most = most_fields(self.schema)
            self.execute_field = self._field  # type: ignore[method-assign]

    def complete_list_value(
        self,
        return_type: Any,
        field_details_list: Any,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        if type(result) is FinishedList:
            return result
        return super().complete_list_value(
            return_type, field_details_list, info, path, result, position_context
        )

    def complete_abstract_value(
        self,
        return_type: Any,
        field_details_list: Any,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        if type(result) is Finished:
            return result
        return super().complete_abstract_value(
            return_type, field_details_list, info, path, result, position_context
        )

    def _field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: Any,
        path: Path,
        position_context: Any,
    ) -> Any:
        answer = partial(
            super().execute_field, parent_type, source, field_details_list, path, position_context
        )
        if parent_type.name.startswith("__"):
            self.context_value.schema_fields += 1
            if self.context_value.schema_fields > self._most:
                return Undefined
        elif field_details_list[0].node.name.value in ("__schema", "__type"):
            return _off_the_loop(answer)
        return answer()


async def _off_the_loop(answer: Callable[[], Any]) -> Any:
    """Return the result of `answer`, made beside the event loop; one at a time, so that those who
    ask for much wait for each other and for nobody else."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_reader, copy_context().run, answer)
