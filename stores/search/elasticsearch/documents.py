"""Makes the bytes of an index document of a JSON document, by the plan that fields and held
make."""

from __future__ import annotations

import time
from typing import Any

import orjson

from stores.protocols import Verdict, Write
from stores.search.elasticsearch.fields import DOCUMENT, KEY, NULLS, TOMBSTONE
from stores.search.elasticsearch.folding import composed, fold, spaced
from stores.search.fields import WHOLE_CHARACTERS, Level
from stores.search.record_plan import MISFITS, RecordPlan
from stores.search.runs import spread
from stores.search.twins import BadValue, elements, text_twin, twin_converter
from stores.write_checks import check_key, parse_document, reject


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


class _Record(RecordPlan):
    def __init__(self, level: Level) -> None:
        super().__init__(level)
        self._where = f"{level.path}/" if level.path else ""
        self._paths = [(f.prop.name, f.path) for f in level.fields]
        self._values = [
            (f.prop.name, f.value, twin_converter(f.prop), f.prop.array)
            for f in level.fields
            if f.valued
        ]

    def own(self, record: dict[str, Any], fields: dict[str, Any], nulls: list[str]) -> None:
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
            for name, array, whole_text, text, whole in self.texts:
                value = get(name)
                if value is not None:
                    texts = [composed(v) for v in (elements(value) if array else (value,))]
                    if text is not None:
                        make = text_twin if whole_text else _words_apart
                        fields[text] = [make(v) for v in texts]
                    if whole is not None:
                        fields[whole] = [fold(v) for v in texts if len(v) <= WHOLE_CHARACTERS]
        except MISFITS:
            raise BadValue(f"{self._where}{name} is not of the contract's type") from None


def _words_apart(text: str) -> str:
    return spread(spaced(text))
