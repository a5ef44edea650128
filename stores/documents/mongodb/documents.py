"""A document's form in MongoDB, both ways. Pure.

    {_id: key, v: version, doc: {…}}              as native BSON, for everybody's own queries
    {_id: key, v: version, doc: {…}, json: "…"}   where `doc` would not give back the same bytes
    {_id: key, v: version, at: date}              a tombstone; the index on `at` lets it expire

Numbers are BSON's int32, int64 and double; decimals are Decimal128, with all their digits; dates
and times stay the contract's text, which sorts as they do, because a BSON date has only
milliseconds. What BSON or MongoDB cannot hold (integers beyond 64 bits, names that begin with `$`,
nesting beyond 90, more than 16 MiB once it is BSON) is kept as text in `json`, and `doc` has just
the key and the foreign keys.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any
from uuid import UUID

import bson
import orjson
from bson.decimal128 import Decimal128, create_decimal128_context
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument

from stores.contract.model import Contract, Embed, RecordType, Scalar
from stores.protocols import Verdict
from stores.write_checks import parse_document

MAX_BSON_BYTES = 16 * 1024 * 1024 - 16 * 1024
"""MongoDB's limit, less the room that it and we need around a document."""
MAX_DEPTH = 90
"""MongoDB's limit is 100, ours around a document included."""

_DOLLAR_NAME = re.compile(rb'"(?:\$|\\u0024)[^"]*"\s*:')
_CONTEXT = create_decimal128_context()


@dataclass(frozen=True, slots=True)
class BsonForm:
    """The parts of a type's documents that are not kept as JSON has them. `kept`: properties that
    an index needs."""

    decimals: tuple[str, ...]
    embedded: tuple[tuple[str, BsonForm], ...]
    kept: tuple[str, ...] = ()


def form(contract: Contract, record_type: RecordType) -> BsonForm:
    return _form(contract, record_type, record_type.embeds, indexed(record_type))


def _form(
    contract: Contract, record_type: RecordType, embeds: Sequence[Embed], kept: tuple[str, ...]
) -> BsonForm:
    inner = (
        (e.relation, contract.types[record_type.relation_by_name[e.relation].target], e.embeds)
        for e in embeds
    )
    embedded = ((name, _form(contract, target, below, ())) for name, target, below in inner)
    return BsonForm(
        tuple(p.name for p in record_type.properties if p.scalar is Scalar.DECIMAL),
        tuple((name, f) for name, f in embedded if f.decimals or f.embedded),
        kept,
    )


def foreign_keys(record_type: RecordType) -> list[tuple[str, ...]]:
    """The property names of each foreign key that the type holds, without repetition."""
    found: dict[tuple[str, ...], None] = {}
    for relation in record_type.relations:
        if relation.owner:
            found[tuple(record_type.by_column[c].name for c in relation.columns)] = None
    return list(found)


def indexed(record_type: RecordType) -> tuple[str, ...]:
    """The properties that indexes and orders name: the key's and the foreign keys'."""
    names = [p.name for p in record_type.key_properties]
    return tuple(dict.fromkeys(names + [n for key in foreign_keys(record_type) for n in key]))


# To MongoDB --------------------------------------------------------------------------------------


def live(form: BsonForm, version: int, document: bytes) -> RawBSONDocument | Verdict:
    """Return the document that replaces a key's document, or the verdict on one that no store
    takes."""
    parsed, refused = parse_document(document)
    if parsed is None:
        assert refused is not None
        return refused
    fields: dict[str, Any] = {"v": Int64(version), "doc": parsed}
    if orjson.dumps(parsed) != document:
        fields["json"] = document.decode()
    kept = {n: parsed[n] for n in form.kept if _plain(parsed.get(n))}
    if _shallow(parsed, document) and not _DOLLAR_NAME.search(document):
        _use_decimals(form, parsed)
        encoded = _encoded(fields)
        if encoded is not None:
            return encoded
    _use_decimals(BsonForm(form.decimals, ()), kept)
    text = {"v": Int64(version), "doc": kept, "json": document.decode()}
    encoded = _encoded(text) or _encoded(text | {"doc": {}})
    assert encoded is not None  # the largest document that is valid has room
    return encoded


def tombstone(version: int, at: datetime) -> RawBSONDocument:
    return RawBSONDocument(bson.encode({"v": Int64(version), "at": at}))


def _encoded(fields: Mapping[str, Any]) -> RawBSONDocument | None:
    """Return the BSON document, or None if BSON cannot hold it or it exceeds MongoDB's limit."""
    try:
        encoded = bson.encode(fields)
    except (bson.errors.BSONError, OverflowError, RecursionError):
        return None
    return RawBSONDocument(encoded) if len(encoded) <= MAX_BSON_BYTES else None


def _plain(value: Any) -> bool:
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, str | float)


def _shallow(parsed: Any, document: bytes) -> bool:
    if document.count(b"{") + document.count(b"[") <= MAX_DEPTH:
        return True
    level = [parsed]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return True
    return False


def _use_decimals(form: BsonForm, document: dict[str, Any]) -> None:
    """Decimals' texts become Decimal128 where that gives back the same text."""
    for name in form.decimals:
        value = document.get(name)
        if isinstance(value, str):
            document[name] = decimal(value) or value
        elif isinstance(value, list):
            document[name] = [decimal(v) or v if isinstance(v, str) else v for v in value]
    for name, inner in form.embedded:
        value = document.get(name)
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, dict):
                _use_decimals(inner, one)


@lru_cache(maxsize=4096)
def decimal(text: str) -> Decimal128 | None:
    """Return a Decimal128, or None if its 34 digits or its spelling would change the text."""
    try:
        with localcontext(_CONTEXT):
            found = Decimal128(Decimal(text))
    except ArithmeticError:
        return None
    return found if _decimal_text(found.bid) == text else None


# From MongoDB ------------------------------------------------------------------------------------


def document_bytes(stored: Mapping[str, Any]) -> bytes:
    """The document, byte for byte as it was written."""
    text = stored.get("json")
    return orjson.dumps(stored["doc"], default=_other) if text is None else text.encode()


def _other(value: Any) -> str:
    if isinstance(value, Decimal128):
        return _decimal_text(value.bid)
    raise TypeError


@lru_cache(maxsize=4096)
def _decimal_text(bid: bytes) -> str:
    return f"{Decimal128.from_bid(bid).to_decimal():f}"


def bound(scalar: Scalar, value: Any) -> Any:
    """A value of a query as it stands in a document (see Scalar for the forms of JSON)."""
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return (decimal(text) or text) if scalar is Scalar.DECIMAL else float(value)
    if isinstance(value, datetime | time):
        text = value.isoformat()
        if value.microsecond:
            # Postgres leaves the zeros at the end of a fraction out, Python prints all six digits.
            head, dot, rest = text.partition(".")
            text = head + (dot + rest[:6]).rstrip("0") + rest[6:]
        return text
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value
