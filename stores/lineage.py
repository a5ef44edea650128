"""Canonical's history: which database it is, which timeline it writes, and where earlier timelines
ended.

A WAL position says when something was committed only together with its timeline: after a failover
to a standby that lagged, or a restore, positions begin again further back, on a new timeline that
shares the history before its fork.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from stores.lsn import parse_lsn

Forks: TypeAlias = tuple[tuple[int, int], ...]
"""(timeline, position at which it was left), oldest first."""

KEPT_FORKS = 16
"""The latest ones. What is of an older timeline is never believed."""

STEP = 1 << 48
"""The step by which versions grow with each timeline: more than the WAL of any history that was
left."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """`forks`: where the timelines ended that lead to `timeline`. `first`: the timeline of
    positions that were recorded without one, by versions of recordgate that did not know of
    timelines."""

    system: str
    timeline: int
    forks: Forks = ()
    first: int = 0

    def end_of(self, timeline: int) -> int | None:
        """Return where this history left `timeline`, or None if it is the present one or not part
        of this history."""
        return dict(self.forks).get(timeline)

    def holds(self, timeline: int, lsn: int, forks: Forks = ()) -> bool:
        """Return whether the state at `lsn` of `timeline`, itself reached by `forks`, is of this
        history."""
        timeline = timeline or self.first
        ours = dict(self.forks)
        if any(ours.get(old, end) != end for old, end in forks):
            return False  # two restores can give their timelines the same number
        if timeline == self.timeline:
            return True
        end = ours.get(timeline)
        return end is not None and lsn <= end

    @property
    def base(self) -> int:
        """Return the number that is added to WAL positions for versions: a reading on a later
        timeline is newer than any on an earlier one, however far that had come."""
        return self.base_of(self.timeline)

    def base_of(self, timeline: int) -> int:
        return max(0, (timeline or self.first) - self.first) * STEP if self.first else 0

    def last_version(self, timeline: int) -> int | None:
        """Return the greatest version that a reading of `timeline` can have that saw nothing but
        this history. Return None if every reading did, or if it cannot be told."""
        end = self.end_of(timeline or self.first)
        return None if end is None else self.base_of(timeline) + end


def parse_history(text: str) -> Forks:
    """The forks of a timeline's history file, as Postgres writes it: timeline, position and reason
    in each line."""
    found = []
    for line in text.splitlines():
        parts = line.split()
        if len(parts) >= 2 and parts[0].isdigit():
            found.append((int(parts[0]), parse_lsn(parts[1])))
    return tuple(found[-KEPT_FORKS:])


def forks_of(pairs: Sequence[Sequence[int]] | None) -> Forks:
    """Forks as stores and records keep them, in JSON."""
    return tuple((int(timeline), int(end)) for timeline, end in pairs or ())
