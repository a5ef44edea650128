"""The promises about rows that cannot be taken, and about imports that are interrupted."""

from __future__ import annotations

import json
import os
import random
import signal
import time

from stores.canonical.importing import ImportOptions, Mode, run_import
from tests.histories.steps import play
from tests.promises.case import Case

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


def test_promise_nothing_by_half(case: Case) -> None:
    """An import of which the process is killed, again and again, at any moment: none of it or all of it."""
    stage = case.stage
    rows = 2000
    file = stage.folder / "half.ndjson"
    file.write_text(
        "".join(json.dumps({"sku": f"h{i}", "name": f"row {i}"}) + "\n" for i in range(rows))
    )
    pick = random.Random(f"{case.sinks}{case.slot}")
    seen = set()
    for turn in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                run_import(
                    stage.spec.canonical, stage.contract, "product", [file],
                    ImportOptions(Mode.UPSERT, batch=f"half-{turn // 2}"),
                )  # fmt: skip
            finally:
                os._exit(0)
        if turn < 3:
            time.sleep(pick.uniform(0.02, 0.4))
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        count = stage.one("SELECT count(*) FROM public.products")
        assert count in (0, rows), f"{count} of {rows}"
        seen.add(count)
    case.inject("the importing process killed three times at random moments, the batch begun again")
    assert stage.one("SELECT count(*) FROM public.products") == rows
    stage.settle()
    for sink in case.sinks:
        number, _ = stage.generations(sink, "product")
        assert len(stage.held(sink, "product", number)) == rows
