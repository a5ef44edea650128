"""Every name recordgate derives: GraphQL names, tables and columns, singular and plural. Pure."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from stores.contract import plurals

MAX_IDENTIFIER_BYTES = 63
"""Postgres cuts longer identifiers off silently (NAMEDATALEN - 1)."""

CONTRACT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
"""A name of a type or property: what a shorthand reference of ODCS can point to."""
GRAPHQL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*\Z")

RESERVED_FIELDS = frozenset(("nodeId", "cursor", "and", "or", "not"))
"""GraphQL names that a record's or its filter's own fields take."""
RESERVED_ROOTS = frozenset(("node", "nodes"))
RESERVED_TYPES = frozenset(
    (
        "Query", "Mutation", "Subscription", "Node", "PageInfo", "String", "Int", "Float",
        "Boolean", "ChangeKind", "ID", "BigInt", "Decimal", "Date", "DateTime", "LocalDateTime",
        "Time",
        "UUID", "Bytes", "JSON", "Duration", "Direction", "Facet", "FacetBucket", "Highlight",
        "OnError", "RowError", "ForgivenWord", "FacetRange", "FacetRanges", "Freshness",
        "SearchMatch", "SearchSuggestion",
    )
)  # fmt: skip
_MEASURES = ("CountDistinct", "Sum", "Avg", "Min", "Max")
GENERATED_TYPES = (
    "", "Change", "Connection", "Edge", "Filter", "OrderBy", "Input", "Patch", "Facet",
    "FacetRanges", "RangeField",
    "SearchConnection",
    "SearchEdge", "SearchOrderBy", "Aggregate", "AggregateOrderBy", "Group", "GroupBy",
    "GroupOrderBy",
    "Having", "Percentile", *(f"{m}{suffix}" for m in _MEASURES for suffix in ("", "Having",
    "OrderBy")),
)  # fmt: skip
"""The suffixes of the GraphQL types that are made of a record type."""
SYSTEM_COLUMNS = frozenset(("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"))
_HOSTILE = frozenset("\"'`\\%{};")


def words(name: str) -> list[str]:
    """The words of a name: `ISO_code`, `isoCode`, `iso-code` → iso, code (letter case kept)."""
    found: list[str] = []
    for part in re.split(r"[^A-Za-z0-9]+", name):
        found += re.findall(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z0-9]+|[0-9]+", part)
    return found


def camel(name: str) -> str:
    """`area_km2` → areaKm2; `areaKm2` stays; `URLPath` → urlPath; `ID` → id."""
    parts = [p for p in re.split(r"[^A-Za-z0-9]+", name) if p]
    out: list[str] = []
    for i, part in enumerate(parts):
        body = part.lower() if part.isupper() else part
        if i:
            out.append(body[:1].upper() + body[1:])
        else:
            run = re.match(r"[A-Z]+", body)
            n = len(run.group()) if run else 0
            cut = max(1, n - 1) if n < len(body) else n
            out.append(body[:cut].lower() + body[cut:])
    return "".join(out)


def pascal(name: str) -> str:
    text = camel(name)
    return text[:1].upper() + text[1:]


def snake(name: str) -> str:
    """`areaKm2` → area_km2; `ISOCode` → iso_code."""
    return "_".join(w.lower() for w in words(name)) or name


@lru_cache(maxsize=4096)
def english_plural(name: str) -> str:
    """The plural of a camelCase name: its last word in the plural."""
    head, last = _split_last(name)
    return head + _cased(plurals.plural(last.lower()), last)


@lru_cache(maxsize=4096)
def english_singular(name: str) -> str | None:
    """Return the singular of a camelCase name that is a plural noun, else None."""
    head, last = _split_last(name)
    found = plurals.singular(last.lower())
    return None if found is None else head + _cased(found, last)


def _split_last(name: str) -> tuple[str, str]:
    found = re.search(r"[A-Z]?[a-z0-9]*\Z", name)
    last = found.group() if found and found.group() else name
    return name[: len(name) - len(last)], last


def _cased(word: str, like: str) -> str:
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


def single_and_plural(name: str, singular: str, plural: str) -> tuple[str, str]:
    """The GraphQL field names of one and of many. `singular` and `plural` are what the contract
    says, empty where it says nothing."""
    single, many = camel(singular), camel(plural)
    own = camel(name)
    if not single:
        if many == own or not many:
            found = english_singular(own)
            single, many = (found, many or own) if found else (own, many)
        else:
            single = own
    if not many:
        many = english_plural(single)
    if many == single:
        many = single + "List"
    return single, many


def generated_fields(single: str, plural: str) -> tuple[str, ...]:
    """The fields of Query, Mutation and Subscription that a record type makes."""
    one, many = pascal(single), pascal(plural)
    return (
        single, plural, plural + "Aggregate", "search" + many, "suggest" + many, "create" + one,
        "create" + many,
        "upsert" + many, "update" + one, "delete" + one, "delete" + many, single + "Changed",
    )  # fmt: skip


def generated_names(graphql: str, single: str, plural: str) -> set[tuple[str, str]]:
    """("type" or "field", name) of all that GraphQL makes of a record type."""
    types = {("type", graphql + suffix) for suffix in GENERATED_TYPES}
    return types | {("field", name) for name in generated_fields(single, plural)}


_LETTERS = str.maketrans(
    {
        "ß": "ss",
        "æ": "ae",
        "Æ": "Ae",
        "œ": "oe",
        "Œ": "Oe",
        "ø": "o",
        "Ø": "O",
        "ł": "l",
        "Ł": "L",
        "đ": "d",
    }
)


def from_header(header: str) -> str:
    """The name that a property gets from the header of a file's column: the header itself where it
    can be one, else its ASCII letters and digits in lower case; empty where it has none."""
    name = header
    if contract_name_problem(name):
        plain = unicodedata.normalize("NFKD", header.translate(_LETTERS)).encode("ascii", "ignore")
        name = re.sub(r"[^A-Za-z0-9]+", "_", plain.decode()).strip("_").lower()[:56].rstrip("_")
        if name[:1].isdigit():
            name = f"c_{name}"
    if camel(name) in RESERVED_FIELDS or snake(name) in SYSTEM_COLUMNS:
        name += "_value"
    return name


def physical_problem(name: str) -> str:
    """Return why `name` cannot be a table or column, or an empty string."""
    if not name:
        return "is empty"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_IDENTIFIER_BYTES:
        return f"is longer than {MAX_IDENTIFIER_BYTES} bytes"
    if any(unicodedata.category(c)[0] == "C" for c in name):
        return "has a control or invisible character"
    if any(c in _HOSTILE for c in name):
        return "has a quote, backslash, percent sign, brace or semicolon"
    if name != name.strip():
        return "begins or ends with a space"
    return ""


def contract_name_problem(name: str) -> str:
    """Return why `name` cannot be the name of a type or property, or an empty string."""
    problem = physical_problem(name)
    if problem:
        return problem
    if name.startswith("__"):
        return "begins with two underscores"
    if not CONTRACT_NAME.match(name):
        return "has a character other than ASCII letters, digits, _ and -, or begins with a digit"
    if not GRAPHQL_NAME.match(camel(name)):
        return "has no GraphQL form"
    return ""


def split_table(text: str) -> tuple[str, str] | None:
    """Split `table`, `schema.table` or the same in double quotes into (schema or "", table)."""
    match = re.fullmatch(r'(?:("[^"]+"|[^".]+)\.)?("[^"]+"|[^".]+)', text)
    if not match:
        return None
    schema, table = match.groups()
    return (schema or "").strip('"'), table.strip('"')
