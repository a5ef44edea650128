"""The schema that is served: a Strawberry schema whose static parts, and what a product adds to
them, are Strawberry's, and which the record types of a contract join."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, cast

import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
)
from strawberry import federation
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from gateway.query.execute import KeptDocument
from gateway.query.introspection import SchemaExecutor
from gateway.schema import static
from gateway.schema.extension_faults import of_schema, place_of, require_free_types
from gateway.schema.extensions import Extensions, merged
from gateway.schema.joining import (
    Joined,
    wrap,
    wrap_abstract,
    wrap_mutation,
    wrap_subscription,
    wrap_type,
)
from gateway.schema.records import by_key
from gateway.schema.resolvers import resolve_node
from gateway.shape.selection import NEEDS
from stores.errors import SetupError


@strawberry.type
class Query:
    @strawberry.field
    async def node(self, info: strawberry.Info, id: static.NodeId) -> static.Node | None:
        return cast("static.Node | None", await resolve_node(self, info._raw_info, id=id))


class RecordSchema(federation.Schema):
    """A Strawberry schema that record types join.

    Strawberry makes the static types and the roots' own fields; `join` adds what the contract
    brings to them and makes the schema anew from the same types. Record types are graphql-core's
    own objects: Strawberry's decorators cost 70 ms of processor time a type, these next to nothing
    (docs/decisions/strawberry.md).
    """

    def __init__(self, added: Extensions) -> None:
        self.added = added
        more = added.roots
        query = merged("Query", Query, more.get("Query", ()))
        assert query is not None
        try:
            super().__init__(
                query=query,
                mutation=merged("Mutation", None, more.get("Mutation", ())),
                subscription=merged("Subscription", None, more.get("Subscription", ())),
                types=[*static.TYPES, *static.ENUMS, *(r.type for r in added.records.values())],
                config=StrawberryConfig(scalar_map=static.SCALARS),
                extensions=[KeptDocument],
                execution_context_class=SchemaExecutor,
            )
        except SetupError:
            raise
        except Exception as error:
            if not added:
                raise
            raise of_schema(error, added.modules, added.places()) from error
        for kind in static.TYPES:
            # What we answer is keyed by response names, which an alias may change.
            for field in self.object(kind).fields.values():
                field.resolve = by_key

    def _get_federation_query_type(self, query: Any, *_: Any) -> type:
        """The root without `_service` and `_entities`: those are the subgraph's, at its own
        path."""
        return cast(type, query)

    def process_errors(self, *_: Any, **__: Any) -> None:
        """Do nothing: an unexpected error is logged where it gets its reference."""

    def object(self, kind: Any) -> GraphQLObjectType:
        """A Strawberry object type as graphql-core has it."""
        return self.schema_converter.from_object(kind.__strawberry_definition__)

    def interface(self, kind: Any) -> GraphQLInterfaceType:
        return self.schema_converter.from_interface(kind.__strawberry_definition__)

    def enum(self, kind: Any) -> GraphQLEnumType:
        return self.schema_converter.from_enum(kind.__strawberry_definition__)

    def get_fields(self, type_definition: StrawberryObjectDefinition) -> list[StrawberryField]:
        """A record type has the fields that the modules of this schema add to it."""
        known = self.added.records.get(type_definition.name)
        if known is None or known.type is not type_definition.origin:
            return list(type_definition.fields)
        return [*type_definition.fields, *(own.field for own in known.fields)]

    def extended(self, name: str) -> GraphQLObjectType | None:
        """The object type of a record type that a module names; None where none does."""
        known = self.added.records.get(name)
        if known is None:
            return None
        found = self.object(known.type)
        found.is_type_of = None  # records are plain mappings
        return found

    def require_free_types(self, taken: set[str]) -> None:
        """Raise SetupError where a module declares a type whose name is one of `taken`."""
        records = {known.type for known in self.added.records.values()}
        require_free_types(self.schema_converter.type_map, records, taken)

    def join_record(
        self, name: str, fields: Mapping[str, GraphQLField], kept: Set[str] = frozenset()
    ) -> None:
        """Add the contract's fields to a record type that a module names. `kept`: names of fields
        that it has elsewhere, as in a federation. Raises SetupError where a name is taken."""
        found = self.extended(name)
        assert found is not None
        named = self.config.name_converter.from_field
        own = {named(o.field): o for o in self.added.records[name].fields}
        for taken in sorted(own.keys() & (fields.keys() | kept)):
            raise SetupError(
                f"{own[taken].place}: {name} has a field {taken} already",
                hint="give the extension's field another name",
            )
        added = {n: found.fields[n] for n in own}
        for field_name, field in added.items():
            field.extensions = {**(field.extensions or {}), NEEDS: own[field_name].needs}
        found.fields.clear()
        found.fields.update({**fields, **added})

    def join(
        self,
        query: Mapping[str, GraphQLField],
        mutation: Mapping[str, GraphQLField],
        subscription: Mapping[str, GraphQLField],
        types: Mapping[str, GraphQLObjectType],
        directives: Iterable[Any],
    ) -> None:
        """Add fields to the roots, and make the schema of all that is reached from them and of
        `types`, the records by their names. Raises TypeError or SetupError where names collide."""
        before = self._schema
        roots = [
            self._root("Query", before.query_type, query),
            self._root("Mutation", before.mutation_type, mutation),
            self._root("Subscription", before.subscription_type, subscription),
        ]
        self._schema = GraphQLSchema(
            query=roots[0],
            mutation=roots[1],
            subscription=roots[2],
            types=list(types.values()),
            directives=[*before.directives, *directives],
            extensions=before.extensions,
        )
        self.replace(self._schema)
        if self.added:
            self._wrap(({*query, "node"}, mutation.keys(), subscription.keys()), types)

    def _wrap(self, contract: Sequence[Set[str]], types: Mapping[str, GraphQLObjectType]) -> None:
        """Make what the product adds fields of a served schema. `contract`: of each root, the
        fields that it does not add."""
        schema = self._schema
        joined = Joined(schema, types, self.config.name_converter.get_graphql_name)
        roots = (
            (schema.query_type, wrap),
            (schema.mutation_type, wrap_mutation),
            (schema.subscription_type, wrap_subscription),
        )
        for (root, wrapped), known in zip(roots, contract, strict=True):
            for field_name, field in root.fields.items() if root else ():
                if field_name not in known:
                    wrapped(field, f"{root.name}.{field_name}", joined)  # type: ignore[union-attr]
        ours = {self.object(kind).name for kind in static.TYPES}
        for name, kind in schema.type_map.items():
            if name in types:
                for field_name, field in types[name].fields.items():
                    if NEEDS in (field.extensions or {}):
                        wrap(field, f"{name}.{field_name}", joined, on_record=True)
            elif (
                GraphQLCoreConverter.DEFINITION_BACKREF not in kind.extensions
                or name in ours
                or kind in dict(roots)
            ):
                continue
            elif isinstance(kind, GraphQLObjectType):
                wrap_type(kind, joined)
            elif isinstance(kind, GraphQLInterfaceType | GraphQLUnionType) and name != "Node":
                wrap_abstract(kind)

    def replace(self, schema: GraphQLSchema) -> None:
        """Serve `schema`, which was made of this one's types."""
        self._schema = schema
        self._schema._strawberry_schema = self  # type: ignore[attr-defined]

    def _root(
        self, name: str, static_root: GraphQLObjectType | None, fields: Mapping[str, GraphQLField]
    ) -> GraphQLObjectType | None:
        if static_root is None:
            return GraphQLObjectType(name, dict(fields)) if fields else None
        taken = sorted(static_root.fields.keys() & fields.keys())
        if taken:
            kind = self.added.roots[name][0]
            raise SetupError(
                f"{place_of(kind)}: {name} has a field {taken[0]} already, of the contract",
                hint="give the extension's field another name",
            )
        static_root.fields.update(fields)
        return static_root
