"""What a promise is tried on, and the ways to break it that several promises share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stores.canonical.connect import connect
from stores.errors import FencedError
from stores.protocols import Outcome, Write
from stores.registry import open_store
from tests.histories.stage import Stage
from tests.promises.front import Front

FILL = (
    "INSERT INTO public.regions SELECT 'r' || i, 'Region ' || i FROM generate_series(1, 3) i",
    "INSERT INTO public.countries SELECT 'c' || i, 'Country ' || i, 'r' || (1 + i % 3) FROM generate_series(1, 6) i",
    "INSERT INTO public.cities SELECT i, 'City ' || i, 'c' || (1 + i % 6), i / 2 FROM generate_series(1, 12) i",
    "INSERT INTO public.products SELECT 'sku,' || i, 'Product ' || i, i * 1.5 FROM generate_series(1, 20) i",
    "INSERT INTO public.orders SELECT 'shop\\,' || i % 3, i, 1 + i % 12, 'note' FROM generate_series(1, 15) i",
    "INSERT INTO public.lines SELECT i, 'shop\\,' || (1 + i / 3) % 3, 1 + i / 3, 'sku,' || (1 + i % 20), i"
    " FROM generate_series(0, 44) i",
    "INSERT INTO public.tags SELECT 't' || i, 'Tag ' || i, NULL FROM generate_series(1, 4) i",
    "INSERT INTO public.taggings SELECT 't' || (1 + i % 4), 'sku,' || i, 0.5 FROM generate_series(1, 12) i",
)


@dataclass
class Case:
    """`sinks`: what the case judges. `slot`: of the change source in canonical, where it is the
    worker's own. `inject` notes what is done to break the promise."""

    stage: Stage
    front: Front
    sinks: tuple[str, ...]
    slot: str
    inject: Callable[[str], None]

    @property
    def local(self) -> bool:
        """Whether one process alone can write to the stores."""
        return self.stage.spec.stores["search"].startswith("tantivy:")

    def fill(self) -> None:
        self.stage.sql(*FILL)
        self.stage.settle()

    def stored(self, sink: str, type_name: str, key: str) -> dict[str, Any] | None:
        """The record as the sink's readers have it now."""
        stage = self.stage
        store = stage.reader(sink)
        active = stage.run(store.generations(type_name))
        (number,) = [g.number for g in active if g.state == "active"]
        held = stage.held(sink, type_name, number)
        found: dict[str, Any] | None = held.get(key)
        return found

    def late(self, type_name: str, write: Write) -> None:
        """Send to each sink a write that has been on its way for long. It must not be taken."""
        stage = self.stage
        if self.local:
            stage.stop()
        for sink in self.sinks:
            active, kept = stage.generations(sink, type_name)

            async def send(sink: str = sink, numbers: tuple[int, ...] = (active, *kept)) -> None:
                store = open_store(stage.spec.stores[sink], stage.folder, role=sink)
                await store.open(stage.contract, write=True)
                try:
                    for number in numbers:
                        verdicts = await store.write(type_name, number, [write])
                        assert [v.outcome for v in verdicts] == [Outcome.STALE], (sink, verdicts)
                    await store.publish(None)
                except FencedError:
                    pass  # a worker is in charge
                finally:
                    await store.close()

            stage.run(send())
        stage.start()

    @contextmanager
    def writing(self, *statements: str) -> Iterator[list[float]]:
        """Carry out a statement after the other, `{}` in it a running number, as long as the block
        lasts, from a thread of its own. Gives the moments, on canonical's clock, at which each was
        committed."""
        over = threading.Event()
        committed: list[float] = []

        def write() -> None:
            with connect(self.stage.spec.canonical) as conn:
                conn.execute("SET application_name = 'a writer'")
                while not over.is_set():
                    number = len(committed) + 1
                    with conn.transaction():
                        for statement in statements:
                            conn.execute(statement.replace("{}", str(number)).encode())
                    committed.append(time.time())
                    time.sleep(0.01)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield committed
        finally:
            over.set()
            thread.join()
        self.stage.changes += len(committed) * len(statements)
