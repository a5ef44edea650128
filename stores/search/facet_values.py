"""From a twin back to the value it stands for, as documents have it in JSON: what a facet shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from stores.contract.model import Property, Scalar
from stores.query import FacetBucket
from stores.search.twins import EPOCH_DAY, INFINITE, TWIN_BYTES, decimal_scale

_DAY = 86_400_000_000
"""Microseconds."""


_SPARE = 100


def wanted(prop: Property, size: int) -> int:
    """How many buckets to ask for, so that `size` of them can be shown."""
    return size + _SPARE if prop.scalar is Scalar.STRING else size


def shown(prop: Property, buckets: Iterable[Mapping[str, Any]], size: int) -> list[FacetBucket]:
    """The first `size` of `buckets` (Elasticsearch's form, which Tantivy has too) whose value is known whole."""
    found: list[FacetBucket] = []
    for bucket in buckets:
        value = facet_value(prop, bucket["key"])
        if value is not None and len(found) < size:
            found.append(FacetBucket(value, int(bucket["doc_count"])))
    return found


def facet_value(prop: Property, twin: Any) -> Any:
    """The JSON value of `twin`, an element's for arrays; None where the text was too long to be kept whole."""
    match prop.scalar:
        case Scalar.BOOLEAN:
            return bool(twin)
        case Scalar.INT | Scalar.BIGINT:
            return int(twin)
        case Scalar.DATE:
            return date_text(int(twin))
        case Scalar.TIMESTAMP:
            return timestamp_text(int(twin), "+00:00")
        case Scalar.DATETIME:
            return timestamp_text(int(twin), "")
        case Scalar.TIME:
            return _time(int(twin))
        case Scalar.DECIMAL:
            return (
                f"{Decimal(str(twin)).quantize(Decimal(1).scaleb(-(decimal_scale(prop) or 0))):f}"
            )
        case Scalar.STRING if len(twin.encode()) > TWIN_BYTES:
            return None
        case _:
            return twin


def civil_from_days(days: int) -> tuple[int, int, int]:
    """Year, month and day of a day since 1970-01-01, for years beyond Python's `date` (Howard Hinnant,
    "chrono-Compatible Low-Level Date Algorithms")."""
    days += 719468
    era = days // 146097
    doe = days - era * 146097
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + (3 if mp < 10 else -9)
    return yoe + era * 400 + (month <= 2), month, doy - (153 * mp + 2) // 5 + 1


def _day(days: int) -> tuple[str, str]:
    """The day as Postgres prints it, and what stands at the end of it and of its time."""
    if 1 <= days + EPOCH_DAY <= date.max.toordinal():
        return date.fromordinal(days + EPOCH_DAY).isoformat(), ""
    year, month, day = civil_from_days(days)
    era = " BC" if year < 1 else ""
    return f"{1 - year if era else year:04}-{month:02}-{day:02}", era


def date_text(days: int) -> str:
    """ "YYYY-MM-DD" of days since 1970."""
    if abs(days) == INFINITE:
        return "infinity" if days > 0 else "-infinity"
    text, era = _day(days)
    return text + era


def timestamp_text(micros: int, zone: str) -> str:
    """ISO 8601 of microseconds since 1970, with `zone` behind it."""
    if abs(micros) == INFINITE:
        return "infinity" if micros > 0 else "-infinity"
    days, rest = divmod(micros, _DAY)
    text, era = _day(days)
    return f"{text}T{_time(rest)}{zone}{era}"


def _time(micros: int) -> str:
    seconds, micros = divmod(micros, 1_000_000)
    fraction = f".{micros:06}".rstrip("0") if micros else ""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}"
