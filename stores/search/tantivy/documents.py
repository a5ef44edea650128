"""Makes a Tantivy document of a JSON document, by the plan that fields and held make of the
contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tantivy

from stores.search.fields import (
    WHOLE_CHARACTERS,
    Field,
    Level,
    null_paths,
)
from stores.search.record_plan import MISFITS, RecordPlan
from stores.search.runs import spread
from stores.search.tantivy.analyzers import composed
from stores.search.tantivy.fields import (
    DOCUMENT,
    KEY,
    VALUES,
    VERSION,
    boolean_term,
    in_values,
    null_term,
)
from stores.search.tantivy.fields import terms as terms_of
from stores.search.twins import BadValue, Kind, elements, twin_converter

Fields = dict[str, Any]
Convert = Callable[[Any], Any]


class DocumentBuilder:
    """Builds documents of one record type for an index that holds `level` (see held); made once for
    it."""

    def __init__(self, level: Level, schema: tantivy.Schema) -> None:
        self._schema = schema
        self._record = _Record(level)

    def build(
        self, key: str, version: int, document: bytes, parsed: dict[str, Any]
    ) -> tantivy.Document:
        """Raises BadValue."""
        terms: list[str] = []
        fields: Fields = {KEY: key, VERSION: version, DOCUMENT: document, VALUES: terms}
        self._record.fill(parsed, fields, terms)
        return tantivy.Document.from_dict(fields, self._schema)


class _Record(RecordPlan):
    def __init__(self, level: Level) -> None:
        super().__init__(level)
        self._fields = level.fields
        self._columns: list[tuple[str, str, str | None, Convert]] = []
        self._terms: list[tuple[str, str, str, Convert]] = []
        self._lists: list[tuple[str, str | None, str | None, Convert]] = []
        self._nullable: list[tuple[str, str]] = []
        for field in level.fields:
            name = field.prop.name
            null = null_term(field.path)
            if field.valued:
                convert = twin_converter(field.prop)
                column = field.value if field.column else None
                before = terms_of(field)[1] if in_values(field) else None
                if field.prop.array:
                    self._lists.append((name, column, before, convert))
                elif before is not None:
                    self._terms.append((name, before, null, _as_term(field, convert)))
                if column is not None and not field.prop.array:
                    self._columns.append((name, column, None if before else null, convert))
            if field.prop.array or not field.valued:
                self._nullable.append((name, null))

    def nulls(self, level: Level) -> list[str]:
        return [null_term(path) for path in null_paths(level)]

    def own(self, record: dict[str, Any], fields: Fields, nulls: list[str]) -> None:
        terms = nulls
        get = record.get
        try:
            for name, term in self._nullable:
                if get(name) is None:
                    terms.append(term)
            for name, column, null, convert in self._columns:
                value = get(name)
                if value is not None:
                    fields[column] = convert(value)
                elif null is not None:
                    terms.append(null)
            for name, before, absent, convert in self._terms:
                value = get(name)
                terms.append(absent if value is None else before + convert(value))
            for name, listed, prefix, convert in self._lists:
                value = get(name)
                if value is not None:
                    found = [convert(v) for v in elements(value)]
                    if listed is not None:
                        fields[listed] = found
                    if prefix is not None:
                        terms += [
                            prefix + (boolean_term(v) if isinstance(v, bool) else v) for v in found
                        ]
            for name, array, literal, text, whole in self.texts:
                value = get(name)
                if value is not None:
                    texts = [composed(v) for v in (elements(value) if array else (value,))]
                    if text is not None:
                        fields[text] = texts if literal else [spread(v) for v in texts]
                    if whole is not None:
                        fields[whole] = [v for v in texts if len(v) <= WHOLE_CHARACTERS]
        except MISFITS:
            raise BadValue(f"{self._culprit(record)} is not of the contract's type") from None

    def _culprit(self, record: dict[str, Any]) -> str:
        """The path of the first property whose value is not of its type."""
        for field in self._fields:
            value = record.get(field.prop.name)
            if value is None or field.kind is None:
                continue
            convert = twin_converter(field.prop)
            try:
                for element in elements(value) if field.prop.array else [value]:
                    convert(element)
            except MISFITS:
                return field.path
        return "a property"


def _as_term(field: Field, convert: Convert) -> Convert:
    if field.kind is not Kind.BOOL:
        return convert
    return lambda value: boolean_term(convert(value))
