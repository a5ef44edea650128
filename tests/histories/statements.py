"""Random statements over the large shop, as Hypothesis strategies: few keys, so that they meet;
every kind of change.

Nothing here knows what a statement will do. The stores are judged by what canonical says
afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Text = SearchStrategy[str]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _texts(*values: str) -> Text:
    return st.sampled_from([_quoted(v) for v in values])


def _or_null(values: Text) -> Text:
    return st.one_of(values, values, values, st.just("NULL"))


CODES = _texts("a", "b", "A", "a,b", "\\", "ü'", "")
ISOS = _texts("c1", "c2", "c3", "x")
IDS = st.integers(1, 9).map(str)
SKUS = _texts("s1", "s2", "s,3", "s\\,3", "🦉", " ")
SHOPS = _texts("north", "so,uth", "\\")
NUMBERS = st.integers(0, 2).map(str)
WORDS = _or_null(_texts("plain", "other", "", 'Zoë\'s "quoted"', "x" * 3000, "\t\n", "0"))
AMOUNTS = _or_null(st.sampled_from(["0", "1.5", "-3.25", "99999999.99"]))
WHOLE = _or_null(st.integers(-5, 5).map(str))


@dataclass(frozen=True)
class Table:
    """`key`, `rest`: column → values as SQL. `rest` holds the foreign keys too."""

    name: str
    key: dict[str, Text]
    rest: dict[str, Text]

    @property
    def columns(self) -> dict[str, Text]:
        return self.key | self.rest


TABLES = (
    Table("regions", {"code": CODES}, {"name": WORDS}),
    Table("countries", {"iso": ISOS}, {"name": WORDS, "region_code": _or_null(CODES)}),
    Table(
        "cities", {"id": IDS}, {"name": WORDS, "iso": _or_null(ISOS), "parent_id": _or_null(IDS)}
    ),
    Table("products", {"sku": SKUS}, {"name": WORDS, "price": AMOUNTS}),
    Table("orders", {"shop": SHOPS, "number": NUMBERS}, {"city_id": _or_null(IDS), "note": WORDS}),
    Table(
        "lines",
        {"id": IDS},
        {
            "shop": _or_null(SHOPS),
            "number": _or_null(NUMBERS),
            "sku": _or_null(SKUS),
            "quantity": WHOLE,
        },
    ),
    Table("tags", {"name": CODES}, {"title": WORDS, "parent_name": _or_null(CODES)}),
    Table("taggings", {"tag_name": CODES, "sku": SKUS}, {"weight": AMOUNTS}),
    Table("departments", {"code": CODES}, {"open": _or_null(st.just("true")), "name": WORDS}),
    Table(
        "people",
        {"id": IDS},
        {"name": WORDS, "salary": WHOLE, "email": WORDS, "department_code": _or_null(CODES)},
    ),
)


BASE = (
    "INSERT INTO public.regions VALUES ('a', 'A'), ('b', 'B'), ('a,b', 'AB')",
    "INSERT INTO public.countries VALUES ('c1', 'one', 'a'), ('c2', 'two', 'a'), ('c3', 'three', 'b')",
    "INSERT INTO public.cities SELECT i, 'city', 'c' || (1 + i % 3), NULLIF(i / 2, 0) FROM generate_series(1, 7) i",
    "INSERT INTO public.products VALUES ('s1', 'p', 1), ('s2', 'q', 2.5), ('s,3', NULL, NULL)",
    "INSERT INTO public.orders SELECT s, n, 1 + n, 'note' FROM unnest(ARRAY['north', 'so,uth']) s, generate_series(0, 2) n",
    "INSERT INTO public.lines SELECT i, 'north', i % 3, (ARRAY['s1', 's2', 's,3'])[1 + i % 3], i FROM generate_series(1, 8) i",
    "INSERT INTO public.tags VALUES ('a', 'x', NULL), ('b', 'y', 'a'), ('A', 'z', 'b')",
    "INSERT INTO public.taggings SELECT t, s, 1 FROM unnest(ARRAY['a', 'b']) t, unnest(ARRAY['s1', 's2', 's,3']) s",
    "INSERT INTO public.departments VALUES ('a', true, 'open'), ('b', NULL, 'shut')",
    "INSERT INTO public.people SELECT i, 'n' || i, i, NULL, NULL, (ARRAY['a', 'b'])[1 + i % 2] FROM generate_series(1, 5) i",
)
"""Records that every history begins with: each refers to others."""


@st.composite
def statement(draw: st.DrawFn) -> str:
    """One statement that changes rows, or none."""
    table = draw(st.sampled_from(TABLES))
    if draw(st.integers(0, 39)) == 0:
        return draw(_truncate(table))
    return str(draw(draw(st.sampled_from(_KINDS))(table)))


@st.composite
def _insert(draw: st.DrawFn, table: Table) -> str:
    columns = list(table.columns)
    rows = [
        "(" + ", ".join(draw(values) for values in table.columns.values()) + ")"
        for _ in range(draw(st.integers(1, 3)))
    ]
    # DO UPDATE refuses one key twice in a statement.
    on = "ON CONFLICT DO NOTHING"
    if len(rows) == 1 and draw(st.booleans()):
        update = ", ".join(f"{c} = excluded.{c}" for c in table.rest)
        on = f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {update}"
    return f"INSERT INTO public.{table.name} ({', '.join(columns)}) VALUES {', '.join(rows)} {on}"


@st.composite
def _update(draw: st.DrawFn, table: Table) -> str:
    columns = draw(st.lists(st.sampled_from(list(table.rest)), min_size=1, max_size=2, unique=True))
    sets = ", ".join(f"{c} = {draw(table.rest[c])}" for c in columns)
    return f"UPDATE public.{table.name} SET {sets}{draw(_where(table))}"


@st.composite
def _rename(draw: st.DrawFn, table: Table) -> str:
    """Move one row to another key, where that is free."""
    old = {c: draw(v) for c, v in table.key.items()}
    new = {c: draw(v) for c, v in table.key.items()}
    free = " AND ".join(f"o.{c} = {v}" for c, v in new.items())
    where = " AND ".join(f"{c} = {v}" for c, v in old.items())
    sets = ", ".join(f"{c} = {v}" for c, v in new.items())
    return (
        f"UPDATE public.{table.name} SET {sets} WHERE {where}"
        f" AND NOT EXISTS (SELECT FROM public.{table.name} o WHERE {free})"
    )


@st.composite
def _delete(draw: st.DrawFn, table: Table) -> str:
    return f"DELETE FROM public.{table.name}{draw(_where(table))}"


@st.composite
def _truncate(draw: st.DrawFn, table: Table) -> str:
    more = draw(st.lists(st.sampled_from([t.name for t in TABLES]), max_size=2, unique=True))
    names = dict.fromkeys([table.name, *more])
    return f"TRUNCATE {', '.join(f'public.{n}' for n in names)} CASCADE"


@st.composite
def _where(draw: st.DrawFn, table: Table) -> str:
    """By a column that has the value, mostly the key's first one; rarely every row."""
    if draw(st.integers(0, 11)) == 0:
        return ""
    column = draw(st.sampled_from([*table.columns, *[next(iter(table.key))] * 3]))
    return f" WHERE {column} = {draw(table.columns[column])}"


_KINDS: tuple[Any, ...] = (_insert, _insert, _update, _update, _update, _rename, _delete)

SAVEPOINTS = st.sampled_from(("", "", "", "ROLLBACK TO s", "RELEASE s"))


@st.composite
def transaction(draw: st.DrawFn, most: int = 6) -> list[str]:
    """Its end, then its statements; sometimes a savepoint that is rolled back, or nested ones."""
    statements: list[str] = draw(st.lists(statement(), min_size=1, max_size=most))
    inner = draw(SAVEPOINTS)
    if inner:
        middle = draw(st.integers(0, len(statements)))
        undone = draw(st.lists(statement(), min_size=1, max_size=3))
        statements[middle:middle] = ["SAVEPOINT s", *undone, inner]
    return [draw(st.sampled_from(("commit",) * 7 + ("rollback",))), *statements]


NEUTRAL_DDL = st.sampled_from(
    [
        "ALTER TABLE public.{0} ADD COLUMN IF NOT EXISTS extra int DEFAULT 7",
        "ALTER TABLE public.{0} ADD COLUMN IF NOT EXISTS stamp timestamptz DEFAULT clock_timestamp()",
        "ALTER TABLE public.{0} DROP COLUMN IF EXISTS extra",
        "ALTER TABLE public.{0} DROP COLUMN IF EXISTS stamp",
        "CREATE INDEX IF NOT EXISTS {0}_short ON public.{0} (left({1}, 9))",
        "DROP INDEX IF EXISTS public.{0}_short",
        "ALTER TABLE public.{0} SET (fillfactor = 50)",
        "CREATE TABLE IF NOT EXISTS public.unrelated (a int)",
        "DROP TABLE IF EXISTS public.unrelated",
        "ALTER TABLE public.products ALTER COLUMN price TYPE numeric(10,2)",
        "ALTER TABLE public.{0} ALTER COLUMN {1} TYPE varchar(4000)",
        "ALTER TABLE public.{0} ALTER COLUMN {1} TYPE text",
    ]
)
"""Changes of tables that the contract does not notice. {0}: a table, {1}: a text column of it."""


@st.composite
def neutral_ddl(draw: st.DrawFn) -> str:
    name, column = draw(
        st.sampled_from(
            [("regions", "name"), ("cities", "name"), ("orders", "note"), ("products", "name"), ("tags", "title")]
        )
    )  # fmt: skip
    return draw(NEUTRAL_DDL).format(name, column)


IMPORTS: dict[str, dict[str, SearchStrategy[Any]]] = {
    "product": {
        "sku": st.sampled_from(["s1", "s2", "s,3", "🦉", "s9"]),
        "name": st.sampled_from(["imported", None, "x" * 50]),
        "price": st.sampled_from(["1.25", None, "bad", "7"]),
    },
    "region": {
        "code": st.sampled_from(["a", "b", "a,b", "ü'"]),
        "name": st.sampled_from(["imported", None]),
    },
    "line": {
        "id": st.integers(1, 9),
        "shop": st.sampled_from(["north", "so,uth", None]),
        "number": st.integers(0, 2),
        "sku": st.sampled_from(["s1", "s2", None]),
        "quantity": st.sampled_from([1, 2, None, "bad"]),
    },
    "tagging": {
        "tagName": st.sampled_from(["a", "b"]),
        "sku": st.sampled_from(["s1", "s2", "s,3"]),
        "weight": st.sampled_from([0.5, None]),
    },
}
"""Type → property → values; some are refused."""
KEYS = {
    "product": ("sku",), "region": ("code",), "line": ("id",), "tagging": ("tagName", "sku"),
}  # fmt: skip


@st.composite
def imported(draw: st.DrawFn) -> tuple[str, str, list[dict[str, Any]]]:
    """(mode, type, rows)."""
    mode = draw(st.sampled_from(("insert", "upsert", "replace", "delete")))
    name = draw(st.sampled_from(sorted(IMPORTS)))
    wanted = KEYS[name] if mode == "delete" else tuple(IMPORTS[name])
    rows = draw(
        st.lists(
            st.fixed_dictionaries({p: IMPORTS[name][p] for p in wanted}), min_size=1, max_size=6
        )
    )
    return mode, name, rows
