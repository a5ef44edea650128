"""From a JSON document to the bytes of an index document, by the plan that fields and held make."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from stores.protocols import Verdict, Write
from stores.search.elasticsearch.fields import DOCUMENT, KEY, NULLS, TOMBSTONE
from stores.search.elasticsearch.folding import composed, fold, spaced
from stores.search.fields import (
    WHOLE_CHARACTERS,
    Level,
    null_paths,
    text_fields,
    whole_fields,
)
from stores.search.twins import BadValue, elements, text_twin, twin_converter
from stores.write_checks import check_key, parse_document, reject

Convert = Callable[[Any], Any]


class DocumentBuilder:
    """Builds index documents of one record type for an index that holds `level` (see held)."""

    def __init__(self, level: Level) -> None:
        self._record = _Record(level)

    def build(self, write: Write) -> tuple[bytes, Verdict | None]:
        """Return the index document of a write or delete, or the verdict on a write that no index
        accepts."""
        refused = check_key(write)
        if refused is not None:
            return b"", refused
        if write.document is None:
            return orjson.dumps({KEY: write.key, TOMBSTONE: int(time.time())}), None
        parsed, refused = parse_document(write.document)
        if parsed is None:
            return b"", refused
        nulls: list[str] = []
        fields: dict[str, Any] = {KEY: write.key, NULLS: nulls}
        try:
            self._record.fill(parsed, fields, nulls)
            fields[DOCUMENT] = write.document.decode()
            return orjson.dumps(fields), None
        except BadValue as error:
            return b"", reject(str(error))
        except (ValueError, TypeError):
            return b"", reject("the document cannot be indexed")


class _Record:
    """What of a record, or of an embedded record, goes into which field; sorted out beforehand, since
    this runs for every property of every document."""

    def __init__(self, level: Level) -> None:
        texts = [] if level.path else text_fields(level)
        wholes = [] if level.path else whole_fields(level)
        self._where = f"{level.path}/" if level.path else ""
        self._paths = [(f.prop.name, f.path) for f in level.fields]
        self._values: list[tuple[str, str, Convert, bool]] = []
        self._texts: list[tuple[str, bool, bool, str | None, str | None]] = []
        for field in level.fields:
            name, array = field.prop.name, field.prop.array
            if field.valued:
                self._values.append((name, field.value, twin_converter(field.prop), array))
            text = field.text if field in texts else None
            whole = field.whole if field in wholes else None
            if text or whole:
                self._texts.append((name, array, field.whole_text, text, whole))
        self._relations = [
            (name, sub.path, _Record(sub), null_paths(sub)) for name, sub in level.relations
        ]

    def fill(self, record: dict[str, Any], fields: dict[str, Any], nulls: list[str]) -> None:
        """Add the record's fields, and the paths of what is null. Raises BadValue."""
        get = record.get
        name = ""
        for name, path in self._paths:
            if get(name) is None:
                nulls.append(path)
        try:
            for name, column, convert, array in self._values:
                value = get(name)
                if value is not None:
                    fields[column] = (
                        [convert(v) for v in elements(value)] if array else convert(value)
                    )
            for name, array, whole_text, text, whole in self._texts:
                value = get(name)
                if value is not None:
                    texts = [composed(v) for v in (elements(value) if array else (value,))]
                    if text is not None:
                        make = text_twin if whole_text else spaced
                        fields[text] = [make(v) for v in texts]
                    if whole is not None:
                        fields[whole] = [fold(v) for v in texts if len(v) <= WHOLE_CHARACTERS]
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            raise BadValue(f"{self._where}{name} is not of the contract's type") from None
        for name, path, inner, absent in self._relations:
            related = get(name)
            if related is None:
                nulls += absent
            elif isinstance(related, dict):
                inner.fill(related, fields, nulls)
            else:
                raise BadValue(f"{path} is not an object")
