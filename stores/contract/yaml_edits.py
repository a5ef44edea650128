"""Edits of YAML text at the places of its nodes: everything else stays byte for byte. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import yaml

VENDOR = "recordgate"


@dataclass(frozen=True, slots=True)
class Edit:
    """The text from `start` to `end` becomes `text`; where both are equal, it is put in there."""

    start: int
    end: int
    text: str


def applied(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits, whose places are those of the text as it is."""
    for edit in sorted(edits, key=lambda e: e.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


@dataclass(slots=True)
class Tree:
    """The nodes of a document, and each one's way from the root."""

    text: str
    root: yaml.Node
    ways: dict[int, tuple[yaml.Node, ...]] = field(default_factory=dict)
    """id of a node → the nodes around it, outermost first."""
    nodes: list[yaml.Node] = field(default_factory=list)

    @property
    def newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def scalar_at(self, line: int, column: int) -> yaml.ScalarNode | None:
        return next((n for n in self._at(line, column) if isinstance(n, yaml.ScalarNode)), None)

    def mapping_at(self, line: int, column: int) -> yaml.MappingNode | None:
        return next((n for n in self._at(line, column) if isinstance(n, yaml.MappingNode)), None)

    def _at(self, line: int, column: int) -> Iterator[yaml.Node]:
        place = (line - 1, column - 1)
        return (n for n in self.nodes if (n.start_mark.line, n.start_mark.column) == place)

    def inside(self, node: yaml.Node, properties: Collection[str]) -> bool:
        """Return whether the node belongs to a custom property of one of these names."""
        around = self.ways.get(id(node), ())
        return any(
            isinstance(outer, yaml.MappingNode)
            and isinstance(name := self.value(outer, "property"), yaml.ScalarNode)
            and name.value in properties
            and name is not node
            for outer in around
        )

    def value(self, node: yaml.Node, key: str) -> yaml.Node | None:
        """Return the value of `key` in a mapping, or None."""
        if not isinstance(node, yaml.MappingNode):
            return None
        return next((v for k, v in node.value if getattr(k, "value", None) == key), None)

    def items(self, node: yaml.Node | None) -> list[yaml.Node]:
        return list(node.value) if isinstance(node, yaml.SequenceNode) else []

    def text_of(self, node: yaml.Node, key: str) -> str:
        found = self.value(node, key)
        return found.value if isinstance(found, yaml.ScalarNode) else ""

    # Putting in -----------------------------------------------------------------------------------

    def before_first_key(self, node: yaml.MappingNode, entry: str) -> Edit:
        return self._before(node, node.value[0][0], entry)

    def before_key(self, node: yaml.MappingNode, key: str, entry: str) -> Edit:
        at = next(k for k, _ in node.value if k.value == key)
        return self._before(node, at, entry)

    def _before(self, node: yaml.MappingNode, key: yaml.Node, entry: str) -> Edit:
        at = key.start_mark.index
        if node.flow_style:
            return Edit(at, at, f"{entry}, ")
        return Edit(at, at, f"{entry}{self.newline}{' ' * key.start_mark.column}")

    def after_key(self, node: yaml.MappingNode, key: str, entry: str) -> Edit:
        """An entry on its own line, below that of `key`, whose comment stays with it; beside it in
        a mapping of one line, or where the value is no scalar."""
        found = next((pair for pair in node.value if pair[0].value == key), node.value[0])
        at, value = found
        if node.flow_style or not isinstance(value, yaml.ScalarNode) or value.style in ("|", ">"):
            return self._before(node, at, entry)
        end = value.end_mark.index
        while end < len(self.text) and self.text[end] not in "\r\n":
            end += 1
        return Edit(end, end, f"{self.newline}{' ' * at.start_mark.column}{entry}")

    def custom_property(self, node: yaml.MappingNode, after: str, name: str, value: str) -> Edit:
        """A custom property of ours; in the list where there is one, else in a new one below the
        key `after`."""
        entry = f"{{property: {name}, vendor: {VENDOR}, value: {value}}}"
        there = self.value(node, "customProperties")
        if isinstance(there, yaml.SequenceNode):
            at = there.start_mark.index
            if there.flow_style:
                comma = ", " if there.value else ""
                return Edit(at + 1, at + 1, f"{entry}{comma}")
            return Edit(at, at, f"- {entry}{self.newline}{' ' * there.start_mark.column}")
        return self.after_key(node, after, f"customProperties: [{entry}]")

    def has_custom_property(self, node: yaml.MappingNode, name: str) -> bool:
        return any(
            self.text_of(entry, "property") == name and self.text_of(entry, "vendor") == VENDOR
            for entry in self.items(self.value(node, "customProperties"))
        )


def tree_of(text: str) -> Tree | None:
    """The tree of one YAML document; None where the text is none."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    if root is None:
        return None
    tree = Tree(text, root)
    pending: list[tuple[yaml.Node, tuple[yaml.Node, ...]]] = [(root, ())]
    while pending:
        node, around = pending.pop()
        if id(node) in tree.ways:
            continue  # an alias: it stands where its anchor is
        tree.ways[id(node)] = around
        tree.nodes.append(node)
        below = (*around, node)
        if isinstance(node, yaml.MappingNode):
            pending += [(part, below) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            pending += [(item, below) for item in node.value]
    return tree
