"""From a JSON document to a Tantivy document, by the plan that tantivy_fields makes of the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tantivy

from stores.search.tantivy_fields import (
    DOCUMENT,
    KEY,
    MISSING,
    VERSION,
    WHOLE_CHARACTERS,
    Level,
    composed,
    has_twin,
    text_twins,
    twin_converter,
    whole_twins,
)


class BadValue(Exception):
    """A property of the document is not of the contract's type; the message names it, not its value."""


Fields = dict[str, Any]


class DocumentBuilder:
    """Builds documents of one record type; made once per generation."""

    def __init__(self, level: Level, schema: tantivy.Schema) -> None:
        self._schema = schema
        self._record = _Record(level)

    def build(
        self, key: str, version: int, document: bytes, parsed: dict[str, Any]
    ) -> tantivy.Document:
        """Raises BadValue."""
        missing: list[str] = []
        fields: Fields = {KEY: key, VERSION: version, DOCUMENT: document, MISSING: missing}
        self._record.fill(parsed, fields, missing)
        return tantivy.Document.from_dict(fields, self._schema)


class _Record:
    """What of a record, or of an embedded record, goes into which field. The properties are sorted
    into kinds beforehand, since this runs for every property of every document."""

    def __init__(self, level: Level) -> None:
        texts = {t.path for t in text_twins(level)} if not level.path else set()
        wholes = {t.path for t in whole_twins(level)} if not level.path else set()
        self._scalars: list[tuple[str, str, str, Callable[[Any], Any]]] = []
        self._lists: list[tuple[str, str, str, Callable[[Any], Any]]] = []
        self._texts: list[tuple[str, bool, str | None, str | None]] = []
        self._unindexed: list[tuple[str, str]] = []
        for twin in level.twins:
            name, path, array = twin.prop.name, twin.path, twin.prop.array
            if has_twin(twin):
                plan = self._lists if array else self._scalars
                plan.append((name, path, twin.value, twin_converter(twin.prop)))
            else:
                self._unindexed.append((name, path))
            text = twin.text if path in texts else None
            whole = twin.whole if path in wholes else None
            if text or whole:
                self._texts.append((name, array, text, whole))
        self._relations = [(name, sub.path, _Record(sub)) for name, sub in level.relations]
        self._paths = [path for sub in level.walk() for path in (sub.path, *_paths(sub))]

    def fill(self, record: dict[str, Any], fields: Fields, missing: list[str]) -> None:
        """Add the record's fields, and the paths of what is null. Raises BadValue."""
        path = ""
        try:
            for name, path, field, convert in self._scalars:
                value = record.get(name)
                if value is None:
                    missing.append(path)
                else:
                    fields[field] = convert(value)
            for name, path, field, convert in self._lists:
                value = record.get(name)
                if value is None:
                    missing.append(path)
                else:
                    # A Postgres array may hold nulls and lists; neither is found by a value.
                    fields[field] = [
                        convert(v) for v in value if v is not None and not isinstance(v, list)
                    ]
            for name, path in self._unindexed:
                if record.get(name) is None:
                    missing.append(path)
            for path, array, text, whole in self._texts:
                value = record.get(path)
                if value is not None:
                    _add_text(value if array else (value,), fields, text, whole)
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            raise BadValue(f"{path} is not of the contract's type") from None
        for name, path, inner in self._relations:
            related = record.get(name)
            if related is None:
                missing.extend(inner._paths)
            elif isinstance(related, dict):
                inner.fill(related, fields, missing)
            else:
                raise BadValue(f"{path} is not an object")


def _paths(level: Level) -> list[str]:
    return [t.path for t in level.twins]


def _add_text(values: Iterable[Any], fields: Fields, text: str | None, whole: str | None) -> None:
    texts = [
        v if v.isascii() else composed(v)
        for v in values
        if v is not None and not isinstance(v, list)
    ]
    if text is not None:
        fields[text] = texts
    if whole is not None:
        fields[whole] = [v for v in texts if len(v) <= WHOLE_CHARACTERS]
