"""What a filter means, in plain Python."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from stores.contract.model import Property, RecordType, Scalar
from stores.query import And, Compare, Filter, Not, Op, Or, Related
from tests.conformance.store_contract import CONTRACT


def holds(filter: Filter, record: dict[str, Any], record_type: RecordType) -> bool:
    """A comparison does not hold for a missing value; `Not` holds where its part does not."""
    match filter:
        case And(parts=parts):
            return all(holds(p, record, record_type) for p in parts)
        case Or(parts=parts):
            return any(holds(p, record, record_type) for p in parts)
        case Not(part=part):
            return not holds(part, record, record_type)
        case Related(relation=name, filter=part):
            relation = record_type.relation_by_name[name]
            related = record.get(name)
            return related is not None and holds(part, related, CONTRACT.types[relation.target])
        case Compare(property=name, op=op, value=value):
            return _compare(record_type.by_name[name], op, record.get(name), value)


def python(prop: Property, value: Any) -> Any:
    """A JSON value as the Python value that compares as canonical compares it."""
    match prop.scalar:
        case Scalar.DECIMAL:
            return Decimal(value)
        case Scalar.DATE:
            return date.fromisoformat(value)
        case Scalar.TIMESTAMP | Scalar.DATETIME:
            return datetime.fromisoformat(value)
        case Scalar.TIME:
            return time.fromisoformat(value)
        case Scalar.UUID:
            return str(value)
        case _:
            return value


def bare(text: str) -> str:
    """Return a text of the tests' letters without case and accents, by other means than the
    stores."""
    letters = unicodedata.normalize("NFD", text.casefold())
    return "".join(c for c in letters if not "\u0300" <= c <= "\u036f")


def _compare(prop: Property, op: Op, stored: Any, value: Any) -> bool:
    if op is Op.IS_NULL:
        return (stored is None) == value
    if stored is None:
        return False
    if prop.array:
        assert op is Op.CONTAINS
        return value in [python(prop, v) for v in stored if v is not None]
    held = python(prop, stored)
    if prop.scalar is Scalar.UUID:
        value = [str(v) for v in value] if isinstance(value, list) else str(value)
    if (
        prop.scalar is Scalar.STRING
        and isinstance(value, str)
        and op in (Op.GT, Op.GTE, Op.LT, Op.LTE)
    ):
        held, value = held.encode(), value.encode()
    match op:
        case Op.EQ:
            return bool(held == value)
        case Op.NEQ:
            return bool(held != value)
        case Op.IN:
            return held in value
        case Op.NOT_IN:
            return held not in value
        case Op.GT:
            return bool(held > value)
        case Op.GTE:
            return bool(held >= value)
        case Op.LT:
            return bool(held < value)
        case Op.LTE:
            return bool(held <= value)
        case Op.CONTAINS:
            return value in held
        case Op.STARTS_WITH:
            return bool(held.startswith(value))
        case Op.ENDS_WITH:
            return bool(held.endswith(value))
        case Op.EQ_IGNORE_CASE:
            return bare(held) == bare(value)
        case Op.CONTAINS_IGNORE_CASE:
            return bare(value) in bare(held)
        case Op.STARTS_WITH_IGNORE_CASE:
            return bare(held).startswith(bare(value))
        case Op.ENDS_WITH_IGNORE_CASE:
            return bare(held).endswith(bare(value))
        case Op.MATCHES:
            return re.search(value, held, re.DOTALL | re.ASCII) is not None
        case Op.MATCHES_IGNORE_CASE:
            return re.search(value.lower(), bare(held), re.DOTALL | re.ASCII) is not None
    raise AssertionError(op)
