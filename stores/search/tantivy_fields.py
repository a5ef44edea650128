"""From a record type to the fields of its Tantivy index, and from JSON values to what they hold.

| field           | holds                                                                        |
| `_key`          | the record's key; stored, and fast for the order of ties                     |
| `_version`      | the version written; stored                                                  |
| `_document`     | the document's bytes; stored                                                 |
| `_missing`      | the paths of properties and relations that are null                          |
| `PATH:value`    | a *twin*: the typed value, for filters, facets and sorting                   |
| `PATH:text`     | the analyzed text, for full-text search                                      |
| `PATH:whole`    | the whole value in lower case without accents: a match of all of it ranks    |
|                 | first, and completions are made of it                                        |

PATH is a property's name, for embedded to-one relations with the relations' names before it:
`country/name`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID

import tantivy

from stores.contract.model import Contract, Embed, Property, RecordType, Scalar

FOLDED = "recordgate_folded"
KEY, VERSION, DOCUMENT, MISSING = "_key", "_version", "_document", "_missing"
TWIN_BYTES = 960
"""A text twin longer than this is its first bytes and a hash: equality stays exact, an order beyond
this length does not."""
WHOLE_CHARACTERS = 200
"""A longer value is found by its words only, and is no completion."""
EXACT_DIGITS = 15
"""A decimal of so many digits has a double of its own, in the same order (DBL_DIG)."""


class Kind(StrEnum):
    """The type of a twin."""

    TEXT = "text"
    INT = "int"
    """Integers; dates as days, times as microseconds, since 1970."""
    FLOAT = "float"
    BOOL = "bool"


_KINDS = {
    Scalar.STRING: Kind.TEXT,
    Scalar.UUID: Kind.TEXT,
    Scalar.INT: Kind.INT,
    Scalar.BIGINT: Kind.INT,
    Scalar.FLOAT: Kind.FLOAT,
    Scalar.BOOLEAN: Kind.BOOL,
    Scalar.DATE: Kind.INT,
    Scalar.TIMESTAMP: Kind.INT,
    Scalar.DATETIME: Kind.INT,
    Scalar.TIME: Kind.INT,
}


def decimal_scale(prop: Property) -> int | None:
    """The digits after the point of a numeric that a double holds exactly, else None."""
    match = re.search(r"numeric\((\d+)(?:,(\d+))?\)", prop.sql_type)
    if match is None or int(match[1]) > EXACT_DIGITS:
        return None
    return int(match[2] or 0)


def kind_of(prop: Property) -> Kind | None:
    """The type of the property's twin; None where it has none."""
    if prop.scalar is Scalar.DECIMAL:
        return None if decimal_scale(prop) is None else Kind.FLOAT
    return _KINDS.get(prop.scalar)


# Values -----------------------------------------------------------------------------------------

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_ISO = re.compile(
    r"(\d{4,})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:\+00(?::?00)?|Z)?)?( BC)?"
)
_INFINITE = 2**62


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar, for years beyond Python's `date`
    (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms")."""
    year -= month <= 2
    era = year // 400
    yoe = year - era * 400
    doy = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468


def _moment(text: str) -> tuple[int, int]:
    """(days, microseconds of the day) of an ISO date or time stamp as Postgres prints it."""
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    days = days_from_civil(1 - year if match[8] else year, month, day)
    hours, minutes, seconds = int(match[4] or 0), int(match[5] or 0), int(match[6] or 0)
    micros = int((match[7] or "0").ljust(6, "0"))
    return days, ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros


def date_number(text: str) -> int:
    """Days since 1970 of "YYYY-MM-DD"."""
    if text.endswith("infinity"):
        return -_INFINITE if text.startswith("-") else _INFINITE
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_DAY
    except ValueError:
        return _moment(text)[0]


def timestamp_number(text: str) -> int:
    """Microseconds since 1970 of an ISO time stamp in UTC or without a zone."""
    if text.endswith("infinity"):
        return -_INFINITE if text.startswith("-") else _INFINITE
    days, micros = _moment(text)
    return days * 86_400_000_000 + micros


def time_number(text: str) -> int:
    """Microseconds since midnight of "HH:MM:SS[.ffffff]"; "24:00:00" is a time to Postgres."""
    hours, minutes, seconds = text.split(":")
    whole, _, fraction = seconds.partition(".")
    return ((int(hours) * 60 + int(minutes)) * 60 + int(whole)) * 1_000_000 + int(
        fraction.ljust(6, "0") or 0
    )


def text_twin(text: str) -> str:
    """The twin of a text."""
    if len(text) <= TWIN_BYTES // 4:
        return text
    raw = text.encode()
    if len(raw) <= TWIN_BYTES:
        return text
    return raw[:TWIN_BYTES].decode(errors="ignore") + hashlib.sha256(raw).hexdigest()


def _typed(kind: type | tuple[type, ...]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TypeError
        return value

    return check


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _integer(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise TypeError
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value if len(value) <= TWIN_BYTES // 4 else text_twin(value)


def _decimal(value: Any) -> float:
    return float(Decimal(value))


def twin_converter(prop: Property) -> Callable[[Any], Any]:
    """From a (non-null) JSON value, an element's for arrays, to the twin's. The function raises
    TypeError or ValueError for a value that is not of the property's type."""
    match prop.scalar:
        case Scalar.INT | Scalar.BIGINT:
            return _integer
        case Scalar.FLOAT:
            return _float
        case Scalar.DECIMAL:
            return _decimal
        case Scalar.BOOLEAN:
            return _typed(bool)
        case Scalar.DATE:
            return date_number
        case Scalar.TIMESTAMP | Scalar.DATETIME:
            return timestamp_number
        case Scalar.TIME:
            return time_number
        case _:
            return _text


def operand(prop: Property, value: Any) -> Any:
    """The twin of a filter's operand (a Python value, see stores.query). Raises ValueError where the
    twin cannot tell it from a neighbour."""
    if prop.scalar is Scalar.DECIMAL:
        number = Decimal(str(value))
        if not number.is_finite() or len(number.normalize().as_tuple().digits) > EXACT_DIGITS:
            raise ValueError("the number has more digits than the store compares")
        return float(number)
    if isinstance(value, datetime):
        offset = value.utcoffset()
        if offset is not None:
            value = value.replace(tzinfo=None) - offset
        if prop.scalar is Scalar.DATE:
            raise ValueError("a time where a date is compared")
        return timestamp_number(value.isoformat())
    if isinstance(value, date):
        return date_number(value.isoformat())
    if isinstance(value, time):
        return time_number(value.isoformat())
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if kind_of(prop) is Kind.INT and isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        return twin_converter(prop)(value)
    except (TypeError, ValueError, ArithmeticError):
        raise ValueError("the value is not of the property's type") from None


# Fields -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Twin:
    """A property of the record or of an embedded to-one relation, and its fields."""

    path: str
    prop: Property
    kind: Kind | None

    @property
    def value(self) -> str:
        return f"{self.path}:value"

    @property
    def text(self) -> str:
        return f"{self.path}:text"

    @property
    def whole(self) -> str:
        return f"{self.path}:whole"


@dataclass(frozen=True, slots=True)
class Level:
    """The properties of a record or of an embedded record, and what is embedded in it."""

    path: str
    record_type: RecordType
    twins: tuple[Twin, ...]
    relations: tuple[tuple[str, Level], ...]

    def find(self, relations: tuple[str, ...]) -> Level | None:
        level: Level | None = self
        for name in relations:
            level = dict(level.relations).get(name) if level else None
        return level

    def twin(self, name: str) -> Twin | None:
        return next((t for t in self.twins if t.prop.name == name), None)

    def walk(self) -> Iterator[Level]:
        yield self
        for _, level in self.relations:
            yield from level.walk()


def levels(contract: Contract, record_type: RecordType) -> Level:
    """The fields of a type's index, as a tree of levels."""
    return _level(contract, record_type, record_type.embeds, "")


def _level(
    contract: Contract, record_type: RecordType, embeds: tuple[Embed, ...], path: str
) -> Level:
    prefix = f"{path}/" if path else ""
    twins = tuple(Twin(prefix + p.name, p, kind_of(p)) for p in record_type.properties)
    relations = []
    for embed in embeds:
        relation = record_type.relation_by_name[embed.relation]
        if not relation.many:
            target = contract.types[relation.target]
            level = _level(contract, target, embed.embeds, prefix + relation.name)
            relations.append((relation.name, level))
    return Level(path, record_type, twins, tuple(relations))


def has_twin(twin: Twin) -> bool:
    """Lists of texts that are searched (the hundred names of a city) are found by their words, and
    have no twin unless they are a facet: it would cost more than all the rest of the record."""
    long_list = twin.prop.array and twin.prop.search.text and not twin.prop.search.facet
    return twin.kind is not None and not long_list


def whole_twins(level: Level) -> list[Twin]:
    """The properties of the record itself whose whole value is known, too."""
    return [
        t
        for t in level.twins
        if t.kind is Kind.TEXT
        and (t.prop.search.suggest or (t.prop.search.text and t.prop.search.analyzer != "keyword"))
    ]


def text_twins(level: Level) -> list[Twin]:
    """The properties of the record itself that full-text search looks in."""
    return [t for t in level.twins if t.prop.search.text and t.kind is Kind.TEXT]


def analyzer_name(analyzer: str) -> str:
    """The name under which an index knows an analyzer of the contract."""
    return "raw" if analyzer == "keyword" else f"recordgate_{analyzer}"


@cache
def analyzer(name: str) -> tantivy.TextAnalyzer:
    """ "standard", "keyword", or a language. Raises ValueError for a language Tantivy has no stemmer
    for."""
    if name == "keyword":
        return tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw()).build()
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.lowercase())
    if name != "standard":
        with suppress(ValueError):  # a stemmer without a list of stop words is still a stemmer
            builder = builder.filter(tantivy.Filter.stopword(name))
        builder = builder.filter(tantivy.Filter.stemmer(name))
    return builder.filter(tantivy.Filter.ascii_fold()).build()


@cache
def _cutter() -> tantivy.TextAnalyzer:
    return tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build()


def cut(text: str) -> list[tuple[str, int, int]]:
    """The words of a text, as every analyzer but "keyword" cuts them."""
    tokens = _cutter().pre_tokenize(text).tokens
    return [(t.text, t.char_offset_from, t.char_offset_to) for t in tokens]


def composed(text: str) -> str:
    """With each accent that is a character of its own put on its letter (Unicode NFC): the tokenizer
    would cut the word there."""
    return unicodedata.normalize("NFC", text)


@cache
def _folder() -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw())
    return builder.filter(tantivy.Filter.lowercase()).filter(tantivy.Filter.ascii_fold()).build()


def fold(text: str) -> str:
    """The whole text in lower case without accents."""
    return "".join(_folder().analyze(composed(text)))


def build_schema(level: Level) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(KEY, stored=True, fast=True, tokenizer_name="raw", index_option="basic")
    builder.add_integer_field(VERSION, stored=True)
    builder.add_bytes_field(DOCUMENT, stored=True)
    builder.add_text_field(MISSING, tokenizer_name="raw", index_option="basic")
    for sub in level.walk():
        for twin in filter(has_twin, sub.twins):
            match twin.kind:
                case Kind.TEXT:
                    builder.add_text_field(
                        twin.value,
                        fast=twin.prop.search.facet or twin.prop.search.sort,
                        tokenizer_name="raw",
                        index_option="basic",
                    )
                case Kind.INT:
                    builder.add_integer_field(twin.value, indexed=True, fast=True)
                case Kind.FLOAT:
                    builder.add_float_field(twin.value, indexed=True, fast=True)
                case Kind.BOOL:
                    builder.add_boolean_field(twin.value, indexed=True, fast=True)
    for twin in text_twins(level):
        builder.add_text_field(twin.text, tokenizer_name=analyzer_name(twin.prop.search.analyzer))
    for twin in whole_twins(level):
        builder.add_text_field(twin.whole, tokenizer_name=FOLDED, index_option="basic")
    return builder.build()


def register_analyzers(index: tantivy.Index, level: Level) -> None:
    for twin in text_twins(level):
        name = twin.prop.search.analyzer
        if name != "keyword":
            index.register_tokenizer(analyzer_name(name), analyzer(name))
    index.register_tokenizer(FOLDED, _folder())
