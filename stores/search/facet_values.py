"""Turns a twin back into the value it stands for, as documents have it in JSON, for facets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

from stores.contract.model import Property, Scalar
from stores.far_days import clock_form, date_form, moment_form
from stores.query import FacetBucket, RangeCount, Ranges
from stores.search.twins import INFINITE, NOT_A_NUMBER, TWIN_BYTES, decimal_scale

_SPARE = 100


def wanted(prop: Property, size: int) -> int:
    """Return the number of buckets to ask for, so that `size` of them can be shown."""
    return size + _SPARE if prop.scalar is Scalar.STRING else size


def shown(prop: Property, buckets: Iterable[Mapping[str, Any]], size: int) -> list[FacetBucket]:
    """The first `size` of `buckets` (Elasticsearch's form, which Tantivy has too) whose value is
    known whole."""
    found: list[FacetBucket] = []
    for bucket in buckets:
        value = facet_value(prop, bucket["key"])
        if value is not None and len(found) < size:
            found.append(FacetBucket(value, int(bucket["doc_count"])))
    return found


def ranged(ranges: Ranges, counts: Iterable[int]) -> list[RangeCount]:
    """Return the ranges with their counts, which are in the order of `Ranges.filters`."""
    edges = pairwise((None, *ranges.bounds, None))
    return [RangeCount(low, high, n) for (low, high), n in zip(edges, counts, strict=True)]


def not_shown(answer: Mapping[str, Any], buckets: Iterable[FacetBucket]) -> int:
    """Return how often hits have values of the facet that `buckets` do not show."""
    counted = sum(int(bucket["doc_count"]) for bucket in answer.get("buckets", ()))
    return counted + int(answer.get("sum_other_doc_count") or 0) - sum(b.count for b in buckets)


def facet_value(prop: Property, twin: Any) -> Any:
    """The JSON value of `twin`, an element's for arrays; None where the text was too long to be
    kept whole."""
    match prop.scalar:
        case Scalar.BOOLEAN:
            return bool(twin)
        case Scalar.INT | Scalar.BIGINT:
            return int(twin)
        case Scalar.DATE:
            return _infinite(twin) or date_form(int(twin))
        case Scalar.TIMESTAMP:
            return _infinite(twin) or moment_form(int(twin), "+00:00")
        case Scalar.DATETIME:
            return _infinite(twin) or moment_form(int(twin), "")
        case Scalar.TIME:
            return clock_form(int(twin))
        case Scalar.DECIMAL if twin == NOT_A_NUMBER:
            return "NaN"
        case Scalar.DECIMAL:
            return (
                f"{Decimal(str(twin)).quantize(Decimal(1).scaleb(-(decimal_scale(prop) or 0))):f}"
            )
        case Scalar.STRING if len(twin.encode()) > TWIN_BYTES:
            return None
        case _:
            return twin


def _infinite(number: int) -> str | None:
    """Return the name of an infinite day or moment, None for any other."""
    if abs(number) != INFINITE:
        return None
    return "infinity" if number > 0 else "-infinity"
