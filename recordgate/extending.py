"""The names that a product's own modules import to add fields to its schema; see
docs/howto/extend.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strawberry import Info as _Info

from gateway.context.services import RequestContext
from gateway.query.record_access import Record, Records
from gateway.schema.extensions import extends, record
from gateway.schema.static import (
    JSON,
    UUID,
    BigInt,
    Bytes,
    Date,
    DateTime,
    Decimal,
    Duration,
    LocalDateTime,
    Time,
)

if TYPE_CHECKING:
    Info = _Info[RequestContext, Any]
else:
    Info = _Info

__all__ = [
    "JSON",
    "UUID",
    "BigInt",
    "Bytes",
    "Date",
    "DateTime",
    "Decimal",
    "Duration",
    "Info",
    "LocalDateTime",
    "Record",
    "Records",
    "Time",
    "extends",
    "record",
]
