"""Relationships into other products: `to: https://geo.example/contract#city.geonameid`. They are no
foreign keys; a federated gateway follows them."""

from __future__ import annotations

from collections.abc import Set

from stores.contract import names
from stores.contract.addresses import split_address
from stores.contract.draft import Draft
from stores.contract.model import ForeignRelation, Property
from stores.contract.node import Node


def add_foreign(
    node: Node, draft: Draft, sources: list[tuple[Draft, Property]], own: Set[str]
) -> None:
    """Add a relationship to the draft, or report what is wrong with it. `own`: the names of the
    GraphQL types that this contract makes."""
    to = node.get("to")
    found = split_address(str(to.data))
    if found is None:
        to.report(
            "DANGLING_RELATIONSHIP",
            "`to` of another product is the address of its contract and one of its properties",
            "write it as https://geo.example/contract#city.geonameid",
        )
        return
    if len(sources) != 1 or sources[0][0] is not draft:
        node.report("RELATIONSHIP_TYPE", "a relationship to another product starts at one property")
        return
    source = sources[0][1]
    if source.array:
        node.report(
            "RELATIONSHIP_TYPE",
            f"{source.name} is a list",
            "start the relationship at a property with a single value",
        )
        return
    contract, type_name, property_name = found
    name = names.camel(node.text("id")) or names.camel(type_name)
    if not names.GRAPHQL_NAME.match(name) or draft.taken(name):
        node.report(
            "DUPLICATE_NAME",
            f"{draft.name!r} has a property or relation {name!r} already, or it has no GraphQL"
            " form",
            "give the relationship an `id`, which becomes its name",
        )
        return
    graphql = names.pascal(type_name)
    if graphql in own or graphql in names.RESERVED_TYPES:
        to.report(
            "DUPLICATE_NAME",
            f"the other product's {type_name!r} is the GraphQL type {graphql}, which this contract"
            " makes too; a federation knows one type of a name",
            "give this contract's type another name, or leave the relationship out",
        )
        return
    draft.foreign.append(
        ForeignRelation(name, graphql, type_name, property_name, contract, source.column)
    )
