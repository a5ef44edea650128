"""Limits the size of a GraphQL document before validation, whose rules are quadratic in places.

Everything here is linear in the text, or bounded by `MAX_FIELDS` and `MAX_SPREADS`: the text is
scanned, then parsed, then the operations are expanded through their fragments. So what comes after
it is bounded too: whoever walks the places of an operation and the fragments of each takes no more
steps. Crossing a limit raises LimitError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationContext,
    VisitorAction,
    parse,
    specified_rules,
)
from graphql.validation import MaxIntrospectionDepthRule, OverlappingFieldsCanBeMergedRule

from gateway.context.services import Limits
from stores.errors import LimitError

MAX_FIELDS = 5_000
"""Fields of a document after its fragments are spread."""
MAX_SPREADS = 5_000
"""Spreads of fragments, counted at each place of the answer that they come to."""
MAX_COMPARISONS = 70_000
"""Steps of the validation that fields can be merged, which compares fragments by pairs."""
MAX_ROOT_FIELDS = 50
MAX_DIRECTIVES = 100
MAX_REPEATED = 100
"""Fields that are named again in the set they are in: each pair is compared while validating."""
MAX_DEFINITIONS = 200
MAX_COMMENTS = 20_000
MAX_VALUE_DEPTH = 24
"""Nesting of variables, and so of filters."""
MAX_VALUES = 30_000
"""Values in variables: reading each costs time that other callers wait."""
MAX_OBJECTS = 1_000
"""Objects in one list of variables: records to write, or parts of a filter."""
MAX_NAMED_AGAIN = 3 * MAX_REPEATED
"""Names that are in one set again, as the text has them: aliases and what is aliased among them."""
INTROSPECTION_DEPTH = 20

# An open string is a token to its end: a scan that fell back to single characters would be
# quadratic.
_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\"""|\\|"(?!""))*+(?:""")?'  # block string
    r'|"(?:[^"\\\n]|\\.)*+"?'
    r"|#[^\n\r]*+"
    r"|[A-Za-z_0-9.+-]++"
    r"|[^\s,\ufeff]"
)


def scan(source: str, limits: Limits) -> None:
    """Refuse a text with too much in it, without parsing it: what is refused here costs others
    nothing."""
    count = depth = comments = directives = definitions = again = 0
    deepest = 4 * limits.max_depth + MAX_VALUE_DEPTH
    arguments = 0  # the depth of the brackets that arguments are in; 0 outside of any
    sets: list[set[str]] = []
    for match in _TOKEN.finditer(source):
        token = match[0]
        if token[0] == "#":
            comments += len(token)
            if comments > MAX_COMMENTS:
                raise LimitError(
                    f"the document has more than {MAX_COMMENTS} characters of comments"
                )
            continue
        count += 1
        if count > limits.max_tokens:
            raise LimitError(
                f"the document has more than {limits.max_tokens} tokens", hint="setting max_tokens"
            )
        if token == "@":
            directives += 1
            if directives > MAX_DIRECTIVES:
                raise LimitError(f"the document has more than {MAX_DIRECTIVES} directives")
        elif token in "{[(":
            depth += 1
            arguments = arguments or (depth if token == "(" else 0)
            definitions += depth == 1 and token == "{"
            if definitions > MAX_DEFINITIONS:
                raise LimitError(f"the document has more than {MAX_DEFINITIONS} definitions")
            sets.append(set())
            if depth > deepest:
                raise LimitError(
                    f"the document nests deeper than {limits.max_depth} levels",
                    hint="setting max_depth",
                )
        elif token in "}])":
            depth -= 1
            arguments = 0 if depth < arguments else arguments
            if sets:
                sets.pop()
        elif sets and not arguments and (token[0].isalpha() or token[0] == "_"):
            again += token in sets[-1]
            sets[-1].add(token)
            if again > MAX_NAMED_AGAIN:
                raise LimitError(f"the query names fields more than {MAX_REPEATED} times again")


def parse_within(source: str, limits: Limits) -> DocumentNode:
    """The parsed document, within the limits. Raises LimitError; GraphQLError for a syntax
    error."""
    if len(source) > limits.max_body_bytes:
        raise LimitError("the document is too long", hint="setting max_body_bytes")
    scan(source, limits)
    try:
        document = parse(source, max_tokens=limits.max_tokens)
    except RecursionError:
        raise LimitError("the document nests too deep", hint="setting max_depth") from None
    check_document(document, limits)
    return document


@dataclass(slots=True)
class _Tally:
    """Counts the parts of an operation; each addition is held against its limit."""

    limits: Limits
    fields: int = 0
    aliases: int = 0
    repeated: int = 0
    directives: int = 0
    spreads: int = 0
    reached: set[str] = field(default_factory=set)

    def add_field(self, node: FieldNode, depth: int, introspection: bool) -> None:
        self.fields += 1
        self.aliases += node.alias is not None
        self.add_directives(node)
        deepest = self.limits.max_depth
        if introspection:
            deepest = max(deepest, INTROSPECTION_DEPTH)
        if depth > deepest:
            raise LimitError(
                f"the query nests deeper than {deepest} levels", hint="setting max_depth"
            )
        if self.aliases > self.limits.max_aliases:
            raise LimitError(
                f"the query has more than {self.limits.max_aliases} aliases",
                hint="setting max_aliases",
            )
        if self.fields > MAX_FIELDS:
            raise LimitError(f"the query has more than {MAX_FIELDS} fields")

    def add_directives(self, node: Any) -> None:
        self.directives += len(node.directives or ())
        if self.directives > MAX_DIRECTIVES:
            raise LimitError(f"the query has more than {MAX_DIRECTIVES} directives")

    def spread(self) -> None:
        self.spreads += 1
        if self.spreads > MAX_SPREADS:
            raise LimitError(f"the query spreads fragments more than {MAX_SPREADS} times")

    def repeat(self) -> None:
        self.repeated += 1
        if self.repeated > MAX_REPEATED:
            raise LimitError(f"the query names fields more than {MAX_REPEATED} times again")


def _merged(
    sets: Iterable[SelectionSetNode],
    fragments: dict[str, FragmentDefinitionNode],
    tally: _Tally,
    depth: int,
    introspection: bool,
) -> dict[str, list[FieldNode]]:
    """The fields of `sets`, which belong to one place, by response name; fragments spread. A
    fragment is spread once a place, which also ends cycles (validation reports them)."""
    fields: dict[str, list[FieldNode]] = {}
    spread: set[str] = set()
    pending = [selection for s in sets for selection in s.selections]
    while pending:
        node = pending.pop()
        if isinstance(node, FieldNode):
            inside = introspection or node.name.value in ("__schema", "__type")
            tally.add_field(node, depth, inside)
            same = fields.setdefault((node.alias or node.name).value, [])
            if same:
                tally.repeat()
            same.append(node)
            continue
        tally.add_directives(node)
        if isinstance(node, InlineFragmentNode):
            pending.extend(node.selection_set.selections)
        elif isinstance(node, FragmentSpreadNode):
            name = node.name.value
            tally.spread()
            tally.reached.add(name)
            if name not in spread and name in fragments:
                spread.add(name)
                pending.extend(fragments[name].selection_set.selections)
    return fields


def _expand(
    root: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode], tally: _Tally
) -> None:
    pending: list[tuple[list[SelectionSetNode], int, bool]] = [([root], 1, False)]
    while pending:
        sets, depth, introspection = pending.pop()
        fields = _merged(sets, fragments, tally, depth, introspection)
        if depth == 1 and len(fields) > MAX_ROOT_FIELDS:
            raise LimitError(f"the query has more than {MAX_ROOT_FIELDS} fields at its root")
        for nodes in fields.values():
            below = [n.selection_set for n in nodes if n.selection_set]
            if below:
                inside = introspection or nodes[0].name.value in ("__schema", "__type")
                pending.append((below, depth + 1, inside))


def check_document(document: DocumentNode, limits: Limits) -> None:
    """Refuse a document whose operations are too large. Raises LimitError."""
    if len(document.definitions) > MAX_DEFINITIONS:
        raise LimitError(f"the document has more than {MAX_DEFINITIONS} definitions")
    fragments = {
        d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)
    }
    tally = _Tally(limits)
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            tally.aliases = 0
            tally.add_directives(definition)
            _expand(definition.selection_set, fragments, tally)
    for name, fragment in fragments.items():
        # Validation also walks a fragment that no operation reaches.
        if name not in tally.reached:
            tally.aliases = 0
            _expand(fragment.selection_set, fragments, tally)


def check_value(value: Any) -> None:
    """Refuse variables nested too deep, or of too many values. Raises LimitError."""
    pending = [(value, 1)]
    count = 0
    while pending:
        current, depth = pending.pop()
        if isinstance(current, dict | list):
            if depth > MAX_VALUE_DEPTH:
                raise LimitError(f"the variables nest deeper than {MAX_VALUE_DEPTH} levels")
            inside = current.values() if isinstance(current, dict) else current
            count += len(current)
            many = isinstance(current, list) and len(current) > MAX_OBJECTS
            if many and any(isinstance(v, dict) for v in current):
                raise LimitError(f"a list in the variables has more than {MAX_OBJECTS} objects")
            if count > MAX_VALUES:
                raise LimitError(f"the variables have more than {MAX_VALUES} values")
            pending.extend((v, depth + 1) for v in inside if isinstance(v, dict | list))


def validation_rules(limits: Limits) -> list[type[ASTValidationRule]]:
    """The rules of validation: graphql-core's specified ones within bounds, and our own. The first
    holds a document against the limits that came by another way than `parse_within`; it raises
    before any other rule does its work.
    """

    class WithinLimits(ASTValidationRule):
        def enter_document(self, node: DocumentNode, *_args: Any) -> VisitorAction:
            check_document(node, limits)
            return None

    specified = [r for r in specified_rules if r is not OverlappingFieldsCanBeMergedRule]
    return [WithinLimits, *specified, _MergedWithinBounds, MaxIntrospectionDepthRule]


class _MergedWithinBounds(OverlappingFieldsCanBeMergedRule):
    """The rule that compares fragments by pairs, and what is below fields of one name by pairs too.
    graphql-core counts its steps, and would take five times as many before it gives up."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = MAX_COMPARISONS
