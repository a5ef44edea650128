"""Records for a product's own resolvers: read and written with the caller's rights, freshness and
limits, as the caller could do by GraphQL itself. Key reads of one moment go together."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from graphql import GraphQLObjectType, get_named_type
from strawberry.dataloader import DataLoader

from gateway.context.services import RequestContext
from gateway.query.execute import ServedSchema, execute
from gateway.query.key_reads import read_by_keys
from gateway.shape.names import camel_case, field_of
from gateway.shape.selection import Selected
from gateway.shape.shaping import MAX_RECORDS
from stores.contract.model import RecordType
from stores.errors import InputError, LimitError, RecordgateError

AT_ONCE = 1000
"""Keys of one read."""
MAX_READS = 1000
"""Reads of one request: who reads records one after another waits for each, and keeps everybody's
stores busy."""


class Record:
    """A record that was read: its properties by their GraphQL names (or the same in snake case),
    those of the contract that the caller may see. A resolver may return it where the schema has the
    record's type."""

    __slots__ = ("_values", "key", "type")

    def __init__(self, record_type: RecordType, key: str, values: Mapping[str, Any]) -> None:
        self.type, self.key, self._values = record_type, key, values

    def __getattr__(self, name: str) -> Any:
        values = self._values
        if name in values:
            return values[name]
        camel = camel_case(name)
        if camel in values:
            return values[camel]
        raise AttributeError(f"{self.type.graphql} has no property {name} here")

    def __repr__(self) -> str:
        return f"<{self.type.graphql} {self.key}>"


class Records:
    """The records, as a resolver of a product reads and writes them in one request: `await
    records.city("2988507")`, `await records.cities(filter={…}, first=10)`, `await
    records.write("updateCity", id=…, input={…})`."""

    def __init__(self, schema: ServedSchema, context: RequestContext) -> None:
        self._schema, self._context = schema, context
        self._one = {t.single: t for t in context.services.contract.types.values()}
        self._many = {t.plural: t for t in context.services.contract.types.values()}
        self._loaders: dict[Any, DataLoader[str, dict[str, Any] | None]] = {}
        self._after = context.freshness.after
        self._loaded = self._reads = self._writes = 0

    def renew(self) -> None:
        """Begin to count anew: a subscription has sent an event, and what it may read is meant for
        one."""
        self._loaded = self._reads = 0
        self._context.cost = 0
        self._context.routes.clear()

    def _write_key(self) -> str | None:
        """Return the idempotency key of the request's next write, made of the request's own: who
        sends the request again is answered by the same writes, and is refused where they would be
        others."""
        given = self._context.idempotency_key
        self._writes += 1
        if given is None:
            return None
        return hashlib.sha256(f"{self._writes} {given}".encode()).hexdigest()

    def _count_read(self) -> None:
        """Raise LimitError where the request's own fields have read too often."""
        self._reads += 1
        if self._reads > MAX_READS:
            raise LimitError(
                f"the fields that the product adds read the stores more than {MAX_READS} times",
                hint="read records together: asyncio.gather(*(records.city(id) for id in ids)), or"
                " a list",
            )

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name in self._one:
            record_type = self._one[name]

            async def one(id: str | int) -> Record | None:
                return await self._get(record_type, str(id))

            return one
        if name in self._many:
            several = self._many[name]

            async def many(**arguments: Any) -> list[Record]:
                return await self._list(several, arguments)

            return many
        raise AttributeError(f"the contract has no record type that is read as {name}")

    async def write(self, mutation: str, **arguments: Any) -> dict[str, Any]:
        """Run one of the contract's mutations, and return its payload: ids of the records, and the
        token, which the request's answer carries too. Raises RecordgateError."""
        if self._context.operation != "mutation":
            # A link or an image can ask a query, and must not be able to write.
            raise RuntimeError("records.write is for fields of Mutation")
        root = self._schema.graphql.mutation_type
        if root is None or mutation not in self._schema.contract_fields:
            raise InputError(f"the contract has no mutation {mutation}")
        payload = get_named_type(root.fields[mutation].type)
        assert isinstance(payload, GraphQLObjectType)
        parts = []
        for name, field in payload.fields.items():
            kind = get_named_type(field.type)
            if not isinstance(kind, GraphQLObjectType):
                parts.append(name)
            elif "id" in kind.fields:
                parts.append(f"{name} {{ id }}")
        answer = await self._ask("mutation", mutation, arguments, "{ " + " ".join(parts) + " }")
        token = answer.get("token")
        if token:
            context = self._context
            context.token = token
            # What is read from now on has seen it.
            asked = ",".join(filter(None, (self._after, token)))
            context.freshness = replace(context.freshness, after=asked)
        return answer

    async def read(
        self, record_type: RecordType, key: str, fields: tuple[Selected, ...]
    ) -> dict[str, Any] | None:
        """Return the selection of a record, keyed by response name; None where there is none, or it
        is hidden. Reads of one moment that select the same go together."""
        self._loaded += 1
        if self._loaded > MAX_RECORDS:
            raise LimitError(f"the query reads more than {MAX_RECORDS} records")
        place = (record_type.name, repr(fields))
        loader = self._loaders.get(place)
        if loader is None:
            path = f"{record_type.single}#{len(self._loaders)}"

            async def load(keys: list[str]) -> list[dict[str, Any] | None]:
                self._count_read()
                found = await read_by_keys(self._context, path, record_type, keys, fields)
                return [found.get(k) for k in keys]

            # Nothing is kept: who writes, or waits in a subscription, reads what is there
            # afterwards.
            loader = DataLoader(load, max_batch_size=AT_ONCE, cache=False)
            self._loaders[place] = loader
        return await loader.load(key)

    async def _get(self, record_type: RecordType, key: str) -> Record | None:
        values = await self.read(record_type, key, _everything(record_type))
        return None if values is None else Record(record_type, key, values)

    async def _list(self, record_type: RecordType, arguments: Mapping[str, Any]) -> list[Record]:
        names = " ".join(f.key for f in _everything(record_type))
        answer = await self._ask(
            "query", record_type.plural, _camel(arguments), f"{{ nodes {{ {names} }} }}"
        )
        nodes = answer["nodes"]
        self._loaded += len(nodes)
        return [Record(record_type, n["id"], n) for n in nodes]

    async def _ask(
        self, operation: str, name: str, arguments: Mapping[str, Any], selection: str
    ) -> dict[str, Any]:
        """One root field, executed as the caller's own request would be."""
        self._count_read()
        schema = self._schema.graphql
        root = schema.query_type if operation == "query" else schema.mutation_type
        if root is None or name not in self._schema.contract_fields:
            raise InputError(f"the contract does not expose {name}")
        known = root.fields[name].args
        for argument in arguments:
            if argument not in known:
                raise InputError(f"{name} has no argument {argument}")
        declared = ", ".join(f"${a}: {known[a].type}" for a in arguments)
        passed = ", ".join(f"{a}: ${a}" for a in arguments)
        head = f"{operation} ({declared})" if arguments else operation
        call = f"{name}({passed})" if arguments else name
        context = replace(
            self._context,
            routes={},
            plans={},
            weights={},
            token=None,
            cost=0,
            document=None,
            idempotency_key=self._write_key() if operation == "mutation" else None,
            read=None,
        )
        answer = await execute(
            self._schema, context, f"{head} {{ it: {call} {selection} }}", arguments
        )
        for path, route in context.routes.items():
            self._context.routes[f"{name}#{path}"] = route
        self._context.cost += context.cost
        if self._context.cost > context.services.limits.max_cost:
            raise LimitError("the query's own fields ask for more than it may cost")
        errors = answer.get("errors")
        if errors:
            raise _raised(errors[0])
        found: dict[str, Any] = answer["data"]["it"]
        return found


def _everything(record_type: RecordType) -> tuple[Selected, ...]:
    names = dict.fromkeys(["id", *(field_of(record_type, p) for p in record_type.properties)])
    return tuple(Selected(name, name, {}) for name in names)


def _camel(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {{"order_by": "orderBy"}.get(n, n): v for n, v in arguments.items()}


def _raised(error: Mapping[str, Any]) -> RecordgateError:
    """The error of an inner request, which the outer one answers with the same code."""
    code = error.get("extensions", {}).get("code", "INTERNAL")
    return RecordgateError(str(error.get("message")), code=code)
