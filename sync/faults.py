"""Finds the faults that keep a sink or a type from being loaded and current, by the worker's own
state: pure, and at one place.

`faults_of` returns the faults that stand; `Faults` raises and takes back conditions so that
canonical's table shows the same.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from stores.canonical.conditions import Condition
from stores.canonical.standing import LOADING, RETRYING
from stores.errors import RecordgateError
from sync.conditions import Conditions
from sync.writer import SinkWriter

SINK_FAILING = "sink-failing"
LOAD_FAILING = "load-failing"
OURS = frozenset((SINK_FAILING, LOADING, LOAD_FAILING))
MOMENT = 1.0
"""Seconds for which a sink may fail before it is told: a single try that fails is no fault."""
LOADING_HINT = "nothing has to be done; `recordgate status` shows the progress"


def faults_of(writer: SinkWriter, now: float) -> list[Condition]:
    """Return what blocks one sink at the monotonic time `now`."""
    sink, found = writer.name, []
    if writer.error is not None and writer.failed_for(now) >= MOMENT:
        found.append(Condition(SINK_FAILING, writer.error.message, writer.error.hint, sink))
    mark = writer.watermark
    for type_name in sorted(mark.required):
        why = mark.reason or "it is loaded for the first time"
        found.append(
            Condition(LOADING, f"not complete in {sink}: {why}", LOADING_HINT, sink, type_name)
        )
    for type_name, load in sorted(writer.building.loads.items()):
        if load.wrong:
            found.append(
                Condition(
                    LOAD_FAILING,
                    f"generation {load.number} cannot be activated: {load.wrong}",
                    "it is checked again and, if that does not help, built again; `recordgate"
                    " deadletters list` shows records that were set aside",
                    sink,
                    type_name,
                )
            )
    return found


class Faults:
    """The conditions that a session has raised for its sinks. `look` is called on a pace."""

    def __init__(self, conditions: Conditions, writers: Collection[SinkWriter]) -> None:
        self._conditions, self._writers = conditions, writers
        self._raised = {c.identity: c for c in conditions.standing if c.code in OURS}
        self._inherited = set(self._raised)
        """Raised by the session before: not over before the sink is known to work."""

    async def look(self) -> None:
        """Make the record equal what the sinks say now. Raises psycopg.Error and FencedError."""
        now = time.monotonic()
        found = {c.identity: c for w in self._writers for c in faults_of(w, now)}
        unknown = {w.name for w in self._writers if w.error is not None or not w.ready.is_set()}
        for identity in [i for i in self._raised if i not in found]:
            sink, type_name, code = identity
            if identity in self._inherited and sink in unknown:
                continue
            del self._raised[identity]
            await self._conditions.over(code=code, sink=sink, type=type_name)
        for identity, condition in found.items():
            self._raised[identity] = condition
            self._inherited.discard(identity)
            await self._conditions.raise_(condition)


def retrying(error: RecordgateError) -> Condition:
    """Return the condition of a session of the worker that ended or never began."""
    return Condition(RETRYING, f"{error.message}; retrying", error.hint)
