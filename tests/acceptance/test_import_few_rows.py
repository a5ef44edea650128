"""A few rows go a light way into canonical: with the checks, rejects, limits and letters of any
import."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from stores.canonical.importing import ImportOptions, Mode, RowLimit
from stores.canonical.importing.run import ImportSession
from stores.errors import ConflictError, RecordgateError
from tests.import_target import Target, new_target


@pytest.fixture(scope="module")
def module_target(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with new_target(postgres, tmp_path_factory.mktemp("few")) as target:
        yield target


@pytest.fixture
def target(module_target: Target) -> Target:
    module_target.clean()
    module_target.do("INSERT INTO makers VALUES ('AB', 'Able'), ('CD', 'Can')")
    module_target.do(
        "INSERT INTO items (id, name, code, maker_code, parent_id, price) VALUES"
        " (1, 'one', 'x-1', 'AB', NULL, 1.00), (2, 'two', 'x-2', 'AB', 1, 2.0), (3, 'three',"
        " 'x-3', NULL, 2, 3)"
    )
    module_target.do("INSERT INTO visits VALUES (3, '2020-01-01')")
    return module_target


BAD: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "each rule": (
        "item",
        "a.csv",
        "id,name,code,color,makerCode,weight,stock,price,born,active,tags,extra\n"
        "10,x,BAD,blue,ZZ,-1,3,12.345,1800-01-01,maybe,{a,1}\n"
        "10,x,BAD,blue,ZZ,-1,3,12.345,1800-01-01,maybe,nolist,{\n"
        "11,good,y-1,red,AB,1,5,1.5,2000-01-01,true,\"[\"\"a\"\"]\",\"{\"\"a\"\":1}\"\n"
        ",nokey,,,,,,,,,,\n12,averyveryverylongnameindeed,,,,1e400,99999999,,,,,\n",
        {},
    ),
    "keys and values twice": (
        "item",
        "a.csv",
        "id,name,code\n5,five,z-5\n5,again,z-6\n6,six,z-5\n7,seven,x-1\n1,one,x-1\n",
        {},
    ),
    "a row that falls with its target": (
        "item",
        "a.csv",
        "id,name,parentId\n20,ab,21\n21,ab,22\n22,ab,99\n23,ab,1\n",
        {},
    ),
    "json": (
        "item",
        "a.ndjson",
        '{"id": 30, "name": "thirty", "price": 1.50}\n{"id": 31\n[]\n\n{"id": "x", "name": 5}\n'
        '{"id": 32, "name": "a\\u0000b"}\n{"id": 33, "name": null}\n',
        {},
    ),
    "a late field": ("item", "a.ndjson", '{"id": 1, "name": "uno"}\n{"id": 2, "nme": "x"}\n', {}),
    "too many rejects": ("item", "a.csv", "id,name\n1,uno\nx,y\n", {"max_rejects": RowLimit(count=0)}),
    "all bad": ("item", "a.csv", "id,name\nx,y\n", {}),
    "insert of what is there": ("item", "a.csv", "id,name\n1,uno\n40,new\n", {"mode": Mode.INSERT}),
    "replace in use": ("item", "a.csv", "id,name\n1,uno\n4,four\n", {"mode": Mode.REPLACE}),
    "replace too much": (
        "item", "a.csv", "id,name\n9,nine\n", {"mode": Mode.REPLACE, "max_deletes": RowLimit(count=1)},
    ),
    "replace takes over a value": (
        "item", "a.csv", "id,name,code\n1,one,x-1\n3,three,x-2\n", {"mode": Mode.REPLACE},
    ),
    "replace by nothing": ("maker", "a.csv", "code,name\n", {"mode": Mode.REPLACE}),
    "delete in use": ("item", "a.csv", "id\n1\n2\n77\nx\n1\n", {"mode": Mode.DELETE}),
    "delete": ("visit", "a.csv", "itemId,day\n3,2020-01-01\n", {"mode": Mode.DELETE}),
    "an unknown column": ("item", "a.csv", "id,nam\n1,x\n", {}),
    "a dry run": ("item", "a.csv", "id,name\n1,uno\n50,new\nx,y\n", {"dry_run": True}),
    "empty": ("item", "a.csv", "", {}),
}  # fmt: skip


def seen(target: Target, named: str, few_rows: int) -> list[object]:
    """Return all that an import leaves to be seen, ids and times apart."""
    type_name, name, text, options = BAD[named]
    rejects = target.folder / "rejects.csv"
    rejects.unlink(missing_ok=True)
    try:
        report = target.load(
            type_name, text, name, few_rows=few_rows, batch="b", rejects=rejects, **options
        )
        report.seconds = 0
        said: object = report
    except RecordgateError as error:
        said = (type(error), str(error), error.hint)
    return [
        said,
        rejects.read_text() if rejects.exists() else None,
        target.rows(
            "SELECT line, key::text, code, reasons, payload FROM recordgate.dead_letters ORDER BY id"
        ),
        target.rows("SELECT id, state, rows, inserted, updated, unchanged, deleted, rejected, error"
                    " FROM recordgate.import_batches"),
        target.rows("SELECT i::text FROM items i ORDER BY id"),
        target.rows("SELECT m::text FROM makers m ORDER BY 1"),
        target.rows("SELECT v::text FROM visits v ORDER BY 1"),
        target.staging_tables(),
    ]  # fmt: skip


@pytest.mark.parametrize("named", BAD)
def test_a_few_rows_are_judged_as_many_are(target: Target, named: str) -> None:
    light = seen(target, named, 5000)
    target.clean()
    target.do("INSERT INTO makers VALUES ('AB', 'Able'), ('CD', 'Can')")
    target.do(
        "INSERT INTO items (id, name, code, maker_code, parent_id, price) VALUES"
        " (1, 'one', 'x-1', 'AB', NULL, 1.00), (2, 'two', 'x-2', 'AB', 1, 2.0), (3, 'three',"
        " 'x-3', NULL, 2, 3)"
    )
    target.do("INSERT INTO visits VALUES (3, '2020-01-01')")
    assert light == seen(target, named, 0)


def test_a_session_imports_one_batch_after_the_other_and_makes_its_tables_once(
    target: Target,
) -> None:
    with ImportSession(target.url, target.contract) as session:
        bad = target.file("bad.csv", "id,name,code\n1,x,\n60,sixty,w-1\n61,also,w-1\n")
        good = target.file("good.csv", "id,name,code\n61,also,w-2\n")
        assert session.run("item", [bad], ImportOptions(batch="s1")).rejected == 2
        tables = "SELECT count(*) FROM pg_class WHERE relname ~ '^import_' AND relkind = 'r' AND relpersistence = 't'"
        made = target.rows(tables)
        second = session.run("item", [good], ImportOptions(batch="s2"))
        assert (second.inserted, second.rejected) == (1, 0)
        assert made == target.rows(tables) == [(4,)]
        assert session.run("item", [good], ImportOptions(batch="s2")).repeated
        # The lock of the type is let go of between two batches.
        assert target.load("item", "id,name\n62,other\n", lock_wait=0).inserted == 1
        with pytest.raises(ConflictError):
            session.run(
                "maker", [target.file("m.csv", "code,name\nEF,x\n")], ImportOptions(batch="s2")
            )
        assert session.run("item", [good], ImportOptions(batch="s3")).unchanged == 1
    # A letter goes when its row is mended, without any bad row beside it.
    assert target.rows("SELECT line FROM recordgate.dead_letters") == [(2,)]


def test_what_is_to_be_done_in_the_merge_is_done_with_it_or_neither_is(target: Target) -> None:
    file = target.file("one.csv", "id,name\n70,seventy\n")
    sized = {"light": 5000, "ordinary": 0}
    for name, few in sized.items():
        with ImportSession(target.url, target.contract) as session:

            def refuse(connection: Any) -> None:
                connection.execute("INSERT INTO public.makers VALUES ('XX', 'in the merge')")
                raise ConflictError("the lease is lost")

            with pytest.raises(ConflictError, match="lease"):
                session.run(
                    "item", [file], ImportOptions(batch=name, few_rows=few), in_the_merge=refuse
                )
            assert target.rows("SELECT count(*) FROM items WHERE id = 70") == [(0,)]
            assert target.rows("SELECT count(*) FROM makers WHERE code = 'XX'") == [(0,)]
            report = session.run(
                "item", [file], ImportOptions(batch=name, few_rows=few),
                in_the_merge=lambda c: c.execute("INSERT INTO public.makers VALUES ('XX',"
                                                 " 'x')") and None,
            )  # fmt: skip
            assert report.inserted == 1
            assert target.rows("SELECT count(*) FROM makers WHERE code = 'XX'") == [(1,)]
        target.do("DELETE FROM items WHERE id = 70; DELETE FROM makers WHERE code = 'XX'")


def test_a_batch_of_ten_rows_makes_no_table_and_costs_little(target: Target) -> None:
    text = "id,name\n" + "".join(f"{i},name {i}\n" for i in range(100, 110))
    plain = "INSERT INTO items (id, name) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET name = excluded.name"
    with (
        psycopg.connect(target.url) as connection,
        ImportSession(target.url, target.contract) as session,
    ):
        file = target.file("ten.csv", text)
        session.run("item", [file], ImportOptions(batch="warm"))
        begun = time.perf_counter()
        for i in range(5):
            session.run("item", [file], ImportOptions(batch=f"n{i}"))
        light = (time.perf_counter() - begun) / 5
        begun = time.perf_counter()
        for i in range(5):
            connection.cursor().executemany(plain, [(k, f"x {i}") for k in range(100, 110)])
            connection.commit()
        direct = (time.perf_counter() - begun) / 5
    print(f"ten rows: {light * 1000:.1f} ms, plain {direct * 1000:.1f} ms")
    assert light < 0.25
