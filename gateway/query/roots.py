"""Describes root fields of the schema for those who plan without executing: kept in the field's
extensions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from stores.contract.model import RecordType

RECORD_TYPE = "recordType"
"""The extension of every root field that is about one record type: the type's name."""


class RootKind(Enum):
    GET = "get"
    LIST = "list"
    AGGREGATE = "aggregate"
    CHANGES = "changes"


@dataclass(frozen=True, slots=True)
class Root:
    kind: RootKind
    type: RecordType


def extensions(kind: RootKind, record_type: RecordType) -> dict[str, Any]:
    return {"root": Root(kind, record_type)}
