"""The units of work of the sink loop's rounds: a batch of dirty keys, rows of the durable backlog,
or a page of a load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stores.errors import NotReadable
from sync.backlog import Batch
from sync.durable_backlog import SWEEP, DurablePage
from sync.reload import Load


@dataclass(slots=True)
class Unit:
    """The work of one round. `batch`: keys in memory, or a sweep. `page`: rows of the durable
    backlog. `load`: a page of a generation being built, up to the key `last`."""

    type_name: str
    version: int = 0
    documents: dict[str, bytes | None] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    refused: NotReadable | None = None
    """The error for which nothing could be read for the unit."""
    batch: Batch | None = None
    page: DurablePage | None = None
    load: Load | None = None
    last: str | None = None
    finishes: bool = False
    """The load is to be checked and activated."""
    spilled: bool = False
    """The batch's keys are in the durable backlog too."""

    @property
    def sweeps(self) -> bool:
        return (self.batch is not None and self.batch.sweep is not None) or (
            self.page is not None and self.page.type_name == SWEEP
        )

    @property
    def alone(self) -> bool:
        """Return whether nothing may be read ahead of the unit."""
        return self.sweeps or self.finishes or self.refused is not None
