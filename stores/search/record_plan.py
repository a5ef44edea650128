"""Plans which property of a record goes into which fields of an index, before documents come.

Both search stores build on it: a document builder runs for every property of every document.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from stores.search.fields import Level, null_paths, text_fields, whole_fields
from stores.search.twins import BadValue

MISFITS = (TypeError, ValueError, ArithmeticError, AttributeError)
"""The errors of a conversion whose value is of another type."""


class RecordPlan(ABC):
    """The plan of a record, or of an embedded record."""

    def __init__(self, level: Level) -> None:
        texts = [] if level.path else text_fields(level)
        wholes = [] if level.path else whole_fields(level)
        self.texts: list[tuple[str, bool, bool, str | None, str | None]] = []
        """Name, whether an array, whether its text is indexed whole, text field, whole field."""
        for field in level.fields:
            text = field.text if field in texts else None
            whole = field.whole if field in wholes else None
            if text or whole:
                self.texts.append(
                    (field.prop.name, field.prop.array, field.whole_text, text, whole)
                )
        self._relations = [
            (name, sub.path, type(self)(sub), self.nulls(sub)) for name, sub in level.relations
        ]

    def nulls(self, level: Level) -> Sequence[str]:
        """Return what marks everything in `level` as null."""
        return null_paths(level)

    @abstractmethod
    def own(self, record: dict[str, Any], fields: dict[str, Any], nulls: list[str]) -> None:
        """Add the record's own fields, and the marks of what is null. Raise BadValue."""

    def fill(self, record: dict[str, Any], fields: dict[str, Any], nulls: list[str]) -> None:
        """Add the fields of the record and of its embedded records. Raise BadValue."""
        self.own(record, fields, nulls)
        for name, path, inner, absent in self._relations:
            related = record.get(name)
            if related is None:
                nulls += absent
            elif isinstance(related, dict):
                inner.fill(related, fields, nulls)
            else:
                raise BadValue(f"{path} is not an object")
