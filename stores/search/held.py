"""The contract's fields that one generation of an index holds, which an earlier contract may have
made.

Until the reload that a change asks for is done, each field is searched in the form that the
generation has: a text by the analyzer that it was indexed with, a value though it is no facet there
yet. A field that only the newer contract has is left out where nobody asked for it by name, and is
NotLoaded where somebody did.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from stores.contract.extensions import ANALYZERS
from stores.contract.model import Property
from stores.errors import InputError, NotLoaded
from stores.query import SearchQuery
from stores.search import filter_plan
from stores.search.fields import (
    Field,
    Kept,
    Level,
    form_mark,
    form_prefix,
    null_mark,
    suggest_fields,
    suggest_mark,
    text_fields,
    text_mark,
    value_mark,
    whole_mark,
)


def held_level(level: Level, marks: Set[str]) -> Level:
    """The contract's fields in the form in which an index with `marks` has them."""
    forms = {mark.rpartition(":")[0] + ":" for mark in marks if ":s:" in mark}
    return _level(level, marks, forms)


def _level(level: Level, marks: Set[str], forms: Set[str]) -> Level:
    return replace(
        level,
        fields=tuple(_field(f, marks, forms) for f in level.fields),
        relations=tuple((name, _level(sub, marks, forms)) for name, sub in level.relations),
    )


def _field(field: Field, marks: Set[str], forms: Set[str]) -> Field:
    return replace(field, prop=_searched(field, marks), kept=_kept(field, marks, forms))


def _kept(field: Field, marks: Set[str], forms: Set[str]) -> Kept:
    if not field.valued:
        return Kept.NOT
    # An index from before there were marks of the form has none of them.
    if form_prefix(field) in forms and form_mark(field) not in marks:
        return Kept.NOT
    ways = (Kept.COLUMN, Kept.TERMS)
    return next((kept for kept in ways if value_mark(field, kept) in marks), Kept.NOT)


def _searched(field: Field, marks: Set[str]) -> Property:
    search = field.prop.search
    if search.text:
        # The contract's own first: a name may be such that two marks read alike.
        found = (search.analyzer, *ANALYZERS)
        analyzer = next((a for a in found if text_mark(field, a) in marks), None)
        search = replace(search, text=analyzer is not None, analyzer=analyzer or search.analyzer)
    if search.suggest and whole_mark(field) not in marks:
        search = replace(search, suggest=False)
    return field.prop if search is field.prop.search else replace(field.prop, search=search)


class Held:
    """A generation as the newest contract asks it. `store`: the adapter's kind, for errors;
    `level`: the contract's."""

    def __init__(self, store: str, level: Level, marks: Set[str]) -> None:
        self._store = store
        self._type = level.record_type.name
        self._marks = marks
        self.level = held_level(level, marks)
        self.declared = level
        self._values = {f.path: f for sub in self.level.walk() for f in sub.fields}

    def value(self, field: Field) -> Field:
        """The contract's `field` as its value is filtered by. Raises NotLoaded."""
        found = self._values[field.path]
        if not found.valued:
            raise self.lacks(field.path)
        return found

    def column(self, field: Field) -> Field:
        """The same of a facet or an order."""
        found = self._values[field.path]
        if not found.column:
            raise self.lacks(field.path)
        return found

    def filter(self, node: filter_plan.Node) -> filter_plan.Node:
        """A plan made of the contract's fields, made of ours. Raises NotLoaded."""
        return filter_plan.fitted(node, self.value, self._known)

    def searched(self, query: SearchQuery) -> list[Field]:
        """The texts to look in. Raises InputError for a name that is no text of the contract's,
        NotLoaded where there are words to look for and none of the texts is there."""
        declared = text_fields(self.declared)
        names = [f.prop.name for f in declared]
        if query.properties is not None:
            for name in query.properties:
                if name not in names:
                    raise InputError(f"{name} is not a property that can be searched")
            names = list(dict.fromkeys(query.properties))
        there = {f.prop.name: f for f in text_fields(self.level)}
        found = [there[name] for name in names if name in there]
        if names and not found and query.text.strip():
            raise self.lacks(", ".join(names))
        return found

    def completed(self, names: tuple[str, ...] | None, *, counted: bool) -> list[Field]:
        """The texts whose values complete what is typed: `names`, or all. `counted`: the store
        counts them in a column of their own. Raises as `searched` does."""
        declared = [f.prop.name for f in suggest_fields(self.declared)]
        unknown = set(names or ()) - set(declared)
        if unknown:
            raise InputError(f"{min(unknown)} is not a property with completions")
        wanted = [name for name in declared if names is None or name in names]
        there = {f.prop.name: f for f in suggest_fields(self.level)}
        found = [there[name] for name in wanted if name in there]
        if counted:
            found = [f for f in found if suggest_mark(f) in self._marks]
        if wanted and not found:
            raise self.lacks(", ".join(wanted))
        return found

    def _known(self, path: str) -> None:
        if null_mark(path) not in self._marks:
            raise self.lacks(path)

    def lacks(self, what: str) -> NotLoaded:
        return NotLoaded(
            f"{self._store}: {what} of {self._type} is being loaded: the contract has it since the"
            " last load only",
            store=self._store,
            hint="try again when the load is done; a worker with this contract does it by itself",
            retry_after=5.0,
        )
