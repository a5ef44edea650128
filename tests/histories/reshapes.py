"""What a history does to tables themselves: no change tells what it does to their rows.

`transactions` gives the statements of a kind, by how the tables are now; none where that kind is
impossible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

One = Callable[[str], Any]
"""Runs a query of one value."""
Transactions = list[list[str]]

REMADE = ("products", "cities", "orders", "taggings", "people", "lines", "tags")
RENAMED = (("cities", "name"), ("products", "price"), ("orders", "city_id"), ("lines", "shop"))
PARTS = ("lines_low", "lines_mid", "lines_rest")
KINDS = (
    *(f"remade {table}" for table in REMADE),
    *(f"renamed {table}.{column}" for table, column in RENAMED),
    "renamed table",
    "partitioned", "emptied part", "dropped part", "detached part", "attached part", "made part",
    "identity", "enum", "value renamed", "default", "unpublished", "filtered", "rewritten",
)  # fmt: skip
BOUNDS = {
    "lines_low": "FOR VALUES FROM (MINVALUE) TO (4)",
    "lines_mid": "FOR VALUES FROM (4) TO (7)",
    "lines_rest": "DEFAULT",
}
PUBLICATION = "recordgate_shop"


def transactions(one: One, kind: str) -> Transactions:
    """The transactions of `kind`, one of KINDS."""
    name, _, rest = kind.partition(" ")
    if name == "remade":
        return [_remade(rest)]
    if name == "renamed" and rest == "table":
        return [
            ["ALTER TABLE public.products RENAME TO goods"],
            ["UPDATE public.goods SET price = 7 WHERE sku = 's1'"],
            ["ALTER TABLE public.goods RENAME TO products"],
        ]
    if name == "renamed":
        table, column = rest.split(".")
        return [
            [f"ALTER TABLE public.{table} RENAME COLUMN {column} TO another"],
            [f"UPDATE public.{table} SET another = NULL WHERE ctid IN (SELECT ctid FROM public.{table} LIMIT 2)"],
            [f"ALTER TABLE public.{table} RENAME COLUMN another TO {column}"],
        ]  # fmt: skip
    if kind == "partitioned":
        return [] if _partitioned(one) or not _able(one) else [_partition()]
    if rest == "part":
        return _of_parts(one, name)
    return _others(one, kind)


def restored(one: One) -> list[str]:
    """What the records that every history begins with need."""
    if _type_of(one, "departments") == "text":
        return []
    return ["ALTER TABLE public.departments ALTER COLUMN name TYPE text USING name::text"]


def _others(one: One, kind: str) -> Transactions:
    if kind == "identity":
        relation = "lines_low" if _has(one, "lines_low") else "lines"
        return [
            [f"ALTER TABLE public.{relation} REPLICA IDENTITY DEFAULT"],
            ["UPDATE public.lines SET shop = 'north', number = 0 WHERE id < 3"],
            ["DELETE FROM public.lines WHERE id = 1"],
        ]
    if kind == "enum":
        if _type_of(one, "departments") != "text":
            return []
        return [
            [
                "DELETE FROM public.departments WHERE name NOT IN ('open', 'shut', 'plain', 'other')",
                "DROP TYPE IF EXISTS public.word",
                "CREATE TYPE public.word AS ENUM ('open', 'shut', 'plain', 'other', '', '0')",
                "ALTER TABLE public.departments ALTER COLUMN name TYPE public.word USING name::public.word",
            ]
        ]
    if kind == "value renamed":
        if _type_of(one, "departments") != "word":
            return []
        here = one("SELECT 'open' = ANY (enum_range(NULL::public.word)::text[])")
        old, new = ("open", "opened") if here else ("opened", "open")
        return [[f"ALTER TYPE public.word RENAME VALUE '{old}' TO '{new}'"]]
    if kind == "default":
        return [
            [
                "ALTER TABLE public.orders DROP COLUMN note",
                "ALTER TABLE public.orders ADD COLUMN note text DEFAULT 'anew'",
            ]
        ]
    if kind == "unpublished":
        return [[f"ALTER PUBLICATION {PUBLICATION} DROP TABLE public.cities"], ["DELETE FROM public.cities WHERE id = 3"]]  # fmt: skip
    if kind == "filtered":
        return [
            [f"ALTER PUBLICATION {PUBLICATION} SET TABLE public.orders WHERE (number > 1)"],
            ["UPDATE public.orders SET note = 'filtered'"],
        ]
    return [["ALTER TABLE public.tags ALTER COLUMN title TYPE text USING upper(title)"]]


def _remade(table: str) -> list[str]:
    """Without one of its rows."""
    return [
        f"CREATE TABLE public.remade (LIKE public.{table} INCLUDING ALL)",
        f"INSERT INTO public.remade SELECT * FROM public.{table} OFFSET 1",
        f"DROP TABLE public.{table} CASCADE",
        f"ALTER TABLE public.remade RENAME TO {table}",
    ]


def _partition() -> list[str]:
    return [
        "ALTER TABLE public.lines RENAME TO old_lines",
        "CREATE TABLE public.lines (LIKE public.old_lines INCLUDING ALL) PARTITION BY RANGE (id)",
        *(f"DROP TABLE IF EXISTS public.{part}" for part in PARTS),
        *(_made(part) for part in PARTS),
        "INSERT INTO public.lines SELECT * FROM public.old_lines",
        "DROP TABLE public.old_lines CASCADE",
    ]


def _made(part: str) -> str:
    return f"CREATE TABLE public.{part} PARTITION OF public.lines {BOUNDS[part]}"


def _of_parts(one: One, name: str) -> Transactions:
    if not _partitioned(one):
        return []
    part = "lines_low" if name == "emptied" else "lines_mid"
    there, attached = _has(one, part), _attached(one, part)
    if name == "emptied" and there:
        return [[f"TRUNCATE public.{part}"]]
    if name == "dropped" and there:
        return [[f"DROP TABLE public.{part}"]]
    if name == "detached" and attached:
        return [[f"ALTER TABLE public.lines DETACH PARTITION public.{part}"]]
    if name == "attached" and there and not attached:
        return [[f"ALTER TABLE public.lines ATTACH PARTITION public.{part} {BOUNDS[part]}"]]
    if name == "made" and not there:
        return [
            [_made(part), "INSERT INTO public.lines VALUES (5, 'north', 1, 's1', 1) ON CONFLICT DO NOTHING"],
            ["UPDATE public.lines SET shop = 'so,uth' WHERE id = 5"],
            ["DELETE FROM public.lines WHERE id = 5"],
        ]  # fmt: skip
    return []


def _able(one: One) -> bool:
    """Before 18 a partitioned table takes no foreign key that is not checked."""
    return int(one("SHOW server_version_num")) >= 180_000


def _has(one: One, table: str) -> bool:
    return bool(one(f"SELECT to_regclass('public.{table}') IS NOT NULL"))


def _partitioned(one: One) -> bool:
    return bool(one("SELECT relkind = 'p' FROM pg_class WHERE oid = 'public.lines'::regclass"))


def _attached(one: One, part: str) -> bool:
    return bool(
        one(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'public.lines'::regclass"
            f" AND inhrelid::regclass::text IN ('{part}', 'public.{part}')"
        )
    )


def _type_of(one: One, table: str) -> str:
    return str(
        one(
            "SELECT replace(format_type(atttypid, NULL), 'public.', '') FROM pg_attribute"
            f" WHERE attrelid = 'public.{table}'::regclass AND attname = 'name'"
        )
    )
