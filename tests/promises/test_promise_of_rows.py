"""The promises about rows that cannot be taken, and about imports that are interrupted."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from stores.canonical.importing import ImportOptions, Mode, RowLimit, run_import
from tests.histories.stage import Stage
from tests.histories.steps import play
from tests.promises.case import Case

pytestmark = pytest.mark.timeout(900)
"""The first test of a stage starts its servers."""

LONG = "k" * 600
"""A key that no store takes."""


def test_promise_bad_rows_stop_nothing(case: Case) -> None:
    stage = case.stage
    case.fill()
    stage.sql(
        f"INSERT INTO public.products VALUES ('{LONG}', 'too long', 1), ('good', 'fine', 2)",
        "INSERT INTO public.lines VALUES (900, NULL, NULL, 'good', 1)",
    )
    stage.wait()
    letters = "SELECT sink, type, key, code, reasons ->> 0 FROM recordgate.dead_letters WHERE kind = 'sink'"
    for sink in case.sinks:
        assert case.stored(sink, "product", "good"), "the rest goes on"
        (found,) = stage.conn.execute(f"{letters} AND sink = '{sink}'".encode()).fetchall()
        assert found[1:4] == ("product", LONG, "STORE_REFUSED")
        assert "600 bytes" in found[4], "it says why"
    case.inject("a record that no store takes")
    stage.kill()
    stage.sql("UPDATE public.products SET name = 'still too long' WHERE name = 'too long'")
    stage.start()
    stage.wait()
    assert stage.one("SELECT count(*) FROM recordgate.dead_letters WHERE kind = 'sink'") == 2
    case.inject("it again, after a kill")
    play(
        stage,
        ["bulk", "upsert", "product", [
            {"sku": "sku,1", "name": "imported", "price": "1"}, {"sku": "sku,2", "name": "x", "price": "dear"},
            {"sku": None, "name": "no key", "price": "1"},
        ]],
    )  # fmt: skip
    assert stage.one("SELECT count(*) FROM recordgate.dead_letters WHERE kind = 'import'") == 2
    case.inject("an import with a value of another type and one without a key")
    stage.wait()
    for sink in case.sinks:
        held = case.stored(sink, "product", "sku,1")
        assert held is not None
        assert held["name"] == "imported"
    stage.sql(f"UPDATE public.products SET sku = 'short' WHERE sku = '{LONG}'")
    stage.settle()
    deadline = time.monotonic() + 30
    while stage.one("SELECT count(*) FROM recordgate.dead_letters WHERE kind = 'sink'"):
        assert time.monotonic() < deadline, "its letters are answered"
        time.sleep(0.02)


SLOW = (
    "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN PERFORM pg_sleep(0.003); RETURN coalesce(NEW, OLD); END'",
    "CREATE TRIGGER slow BEFORE INSERT OR UPDATE OR DELETE ON public.products FOR EACH ROW"
    " EXECUTE FUNCTION public.slow()",
)
"""So that a kill meets the middle of what is written."""
ROWS = 120


def test_promise_nothing_by_half(case: Case) -> None:
    """An import that inserts, updates and deletes, of which the process is killed in the middle of
    its writing: the old records or the new ones, no mixture, in canonical and at last in every
    store."""
    stage = case.stage
    old = {f"h{i}": "old" for i in range(ROWS)}
    new = {f"h{i}": "new" for i in range(ROWS // 2, 3 * ROWS // 2)}
    file = stage.folder / "half.ndjson"
    file.write_text("".join(json.dumps({"sku": k, "name": v}) + "\n" for k, v in new.items()))
    stage.sql(
        f"INSERT INTO public.products SELECT 'h' || i, 'old' FROM generate_series(0, {ROWS - 1}) i",
        *SLOW,
    )
    pick = random.Random(f"{case.sinks}{case.slot}")
    try:
        for turn in range(4):
            pid = os.fork()
            if pid == 0:
                try:
                    run_import(
                        stage.spec.canonical, stage.contract, "product", [file],
                        ImportOptions(Mode.REPLACE, batch=f"half {case.sinks} {turn // 2}", max_deletes=RowLimit.parse("100%")),
                    )  # fmt: skip
                finally:
                    os._exit(0)
            if turn < 3:
                _until(lambda: _writing(stage))
                time.sleep(pick.uniform(0, 0.003 * 2 * ROWS))
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            _until(lambda: not _writing(stage))
            now = dict(stage.conn.execute("SELECT sku, name FROM public.products").fetchall())
            assert now in (old, new), "a mixture"
    finally:
        stage.sql("DROP TRIGGER slow ON public.products", "DROP FUNCTION public.slow()")
    case.inject(
        "the importing process killed three times in the middle of its writing, and begun again"
    )
    assert now == new
    stage.settle()
    for sink in case.sinks:
        number, _ = stage.generations(sink, "product")
        assert len(stage.held(sink, "product", number)) == len(new)


def _writing(stage: Stage) -> bool:
    """Whether somebody else writes to products now."""
    return bool(
        stage.one(
            "SELECT count(*) FROM pg_locks WHERE relation = 'public.products'::regclass"
            " AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()"
        )
    )


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
