"""Names that recordgate derives where the contract says none: of many records, of a relation and of
its inverse. Written down, they stay what they are when the contract grows. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from stores.contract.model import Contract, RecordType, Relation
from stores.contract.yaml_edits import Edit, Tree


def names_to_write(tree: Tree, contract: Contract) -> Iterator[tuple[Edit, int, str]]:
    """Each edit with its line and what it does. Several may be of one place: one at a time."""
    for node in tree.items(tree.value(tree.root, "schema")):
        record_type = contract.types.get(tree.text_of(node, "name"))
        if record_type is None or not isinstance(node, yaml.MappingNode):
            continue
        if not tree.has_custom_property(node, "plural"):
            edit = tree.custom_property(node, "name", "plural", record_type.plural)
            said = f"the plural of {record_type.name} is written down: {record_type.plural}"
            yield edit, node.start_mark.line + 1, said
        for relationship, relation in _relationships(tree, node, record_type):
            yield from _relation(tree, relationship, relation)


def _relation(
    tree: Tree, node: yaml.MappingNode, relation: Relation
) -> Iterator[tuple[Edit, int, str]]:
    line = node.start_mark.line + 1
    if not tree.text_of(node, "id"):
        edit = tree.before_first_key(node, f"id: {relation.name}")
        yield edit, line, f"the relation to {relation.target} is written down: {relation.name}"
    if not tree.has_custom_property(node, "inverse"):
        edit = tree.custom_property(node, "to", "inverse", relation.inverse)
        yield edit, line, f"the inverse of {relation.name} is written down: {relation.inverse}"


def _relationships(
    tree: Tree, node: yaml.Node, record_type: RecordType
) -> Iterator[tuple[yaml.MappingNode, Relation]]:
    """The relationships of a type, each with the relation that it makes, where that is plain."""
    for prop in tree.items(tree.value(node, "properties")):
        found = tree.items(tree.value(prop, "relationships"))
        name = tree.text_of(prop, "name")
        if len(found) == 1:
            yield from _matching(found[0], record_type, [name])
    for one in tree.items(tree.value(node, "relationships")):
        source = tree.value(one, "from")
        ends = tree.items(source) if isinstance(source, yaml.SequenceNode) else [source]
        named = [str(end.value) for end in ends if isinstance(end, yaml.ScalarNode)]
        yield from _matching(one, record_type, [name.rpartition(".")[2] for name in named])


def _matching(
    node: yaml.Node, record_type: RecordType, names: list[str]
) -> Iterator[tuple[yaml.MappingNode, Relation]]:
    properties = [record_type.by_name.get(name) for name in names]
    columns = tuple(p.column for p in properties if p is not None)
    owned = [r for r in record_type.relations if r.owner and r.columns == columns]
    if isinstance(node, yaml.MappingNode) and len(owned) == 1 and len(columns) == len(names):
        yield node, owned[0]
