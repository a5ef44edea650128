"""What every store must hold once writes have stopped: whole documents, from one plain SQL
statement.

Written by hand from the contracts of the tests, with correlated subqueries only, and apart from the
product's own projection, of which nothing is imported here: a fault in that one cannot hide in this
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

_CITY = "'id', {0}.id, 'name', {0}.name, 'iso', {0}.iso::text, 'parentId', {0}.parent_id"
_COUNTRY = "'iso', {0}.iso::text, 'name', {0}.name, 'regionCode', {0}.region_code"
_REGION = "'code', {0}.code, 'name', {0}.name"
_PRODUCT = "'sku', {0}.sku, 'name', {0}.name, 'price', {0}.price::text"
_LINE = (
    "'id', {0}.id, 'shop', {0}.shop, 'number', {0}.number, 'sku', {0}.sku, 'quantity', {0}.quantity"
)
_TAG = "'name', {0}.name, 'title', {0}.title, 'parentName', {0}.parent_name"
_TAGGING = "'tagName', {0}.tag_name, 'sku', {0}.sku, 'weight', {0}.weight"
_DEPARTMENT = "'code', {0}.code, 'open', {0}.open, 'name', {0}.name"
_PERSON = (
    "'id', {0}.id, 'name', {0}.name, 'salary', {0}.salary, 'diagnosis', {0}.diagnosis, 'email', {0}.email,"
    " 'departmentCode', {0}.department_code"
)


def _one(fields: str, alias: str, table: str, where: str, more: str = "") -> str:
    """The record of `table` for which `where` holds, as an object, or null."""
    return f"(SELECT jsonb_build_object({fields.format(alias)}{more}) FROM public.{table} {alias} WHERE {where})"


def _many(fields: str, alias: str, table: str, where: str, order: str, more: str = "") -> str:
    return (
        f"(SELECT coalesce(jsonb_agg(jsonb_build_object({fields.format(alias)}{more}) ORDER BY {alias}.{order}), '[]')"
        f" FROM public.{table} {alias} WHERE {where})"
    )


def _all(key: str, fields: str, alias: str, table: str, more: str = "") -> str:
    return f"SELECT {key} AS key, jsonb_build_object({fields.format(alias)}{more}) AS document FROM public.{table} {alias}"


def _composite(*parts: str) -> str:
    escaped = [rf"replace(replace({p}::text, '\', '\\'), ',', '\,')" for p in parts]
    return " || ',' || ".join(escaped)


STATEMENTS: Mapping[str, str] = {
    "region": _all(
        "r.code", _REGION, "r", "regions",
        f", 'countries', {_many(_COUNTRY, 'c', 'countries', 'c.region_code = r.code', 'iso')}",
    ),
    "country": _all("c.iso::text", _COUNTRY, "c", "countries"),
    "city": _all(
        "t.id::text", _CITY, "t", "cities",
        ", 'country', " + _one(
            _COUNTRY, "c", "countries", "c.iso = t.iso",
            f", 'region', {_one(_REGION, 'r', 'regions', 'r.code = c.region_code')}",
        ),
    ),
    "product": _all("p.sku", _PRODUCT, "p", "products"),
    "order": _all(
        _composite("o.shop", "o.number"),
        "'shop', {0}.shop, 'number', {0}.number, 'cityId', {0}.city_id, 'note', {0}.note", "o", "orders",
        f", 'city', {_one(_CITY, 't', 'cities', 't.id = o.city_id')}, 'lines', " + _many(
            _LINE, "l", "lines", "l.shop = o.shop AND l.number = o.number", "id",
            f", 'product', {_one(_PRODUCT, 'p', 'products', 'p.sku = l.sku')}",
        ),
    ),
    "line": _all("l.id::text", _LINE, "l", "lines"),
    "tag": _all(
        "t.name", _TAG, "t", "tags",
        ", 'taggings', " + _many(
            _TAGGING, "g", "taggings", "g.tag_name = t.name", "sku",
            f", 'product', {_one(_PRODUCT, 'p', 'products', 'p.sku = g.sku')}",
        ),
    ),
    "tagging": _all(_composite("g.tag_name", "g.sku"), _TAGGING, "g", "taggings"),
    "department": _all("d.code", _DEPARTMENT, "d", "departments"),
    "person": _all(
        "p.id::text", _PERSON, "p", "people",
        f", 'department', {_one(_DEPARTMENT, 'd', 'departments', 'd.code = p.department_code')}",
    ),
}  # fmt: skip
"""Type → a SELECT of (key as stores have it, document)."""


def expected(
    conn: psycopg.Connection[Any], types: Iterable[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Type → key → document, all in one snapshot. A type without a statement is a KeyError."""
    names = list(types)
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    statement = " UNION ALL ".join(
        f"SELECT '{name}' AS type, x.key, x.document FROM ({STATEMENTS[name]}) AS x"
        for name in names
    )
    for name, key, document in conn.execute(statement.encode()).fetchall():
        found[name][key] = document
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """`want` and `held`: None where it is not there."""

    sink: str
    type_name: str
    generation: int
    key: str
    want: Any
    held: Any

    @property
    def kind(self) -> str:
        if self.want is None:
            return "extra"
        return "missing" if self.held is None else "different"

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.sink}/{self.type_name}/{self.key!r} of generation {self.generation}"
            f"\n    held {self.held}\n    want {self.want}"
        )


def differences(
    sink: str,
    type_name: str,
    generation: int,
    want: Mapping[str, Any],
    held: Mapping[str, Any],
) -> Iterator[Difference]:
    """Key by key: missing, extra and different ones."""
    for key in sorted(want.keys() | held.keys()):
        if want.get(key) != held.get(key):
            yield Difference(sink, type_name, generation, key, want.get(key), held.get(key))
