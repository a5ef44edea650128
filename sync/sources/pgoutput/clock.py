"""Measures the age of a position of the stream, by samples of canonical's clock and WAL positions.

A keepalive's own clock cannot serve: it is sent also while the server is still far behind in
decoding. So canonical is asked for (clock, WAL position) in this order: whatever had been committed
at that clock lies before that position. Once the stream has reached the position, the clock holds
for it.
"""

from __future__ import annotations

from dataclasses import dataclass

KEPT = 32
"""Maximum samples that wait for the stream. Beyond it every other one is dropped: a stream that
lags far behind is then dated more coarsely, never wrongly."""

SHORT_HEADER = 24
LONG_HEADER = 40
"""Bytes at the start of a WAL page, and of a segment's first (XLogPageHeaderData,
access/xlog_internal.h)."""

SAMPLE = """
SELECT extract(epoch FROM clock_timestamp())::float8,
       pg_current_wal_insert_lsn() - '0/0'::pg_lsn,
       pg_current_wal_flush_lsn() - '0/0'::pg_lsn,
       extract(epoch FROM current_setting('wal_writer_delay')::interval)::float8,
       current_setting('wal_block_size')::int,
       pg_size_bytes(current_setting('wal_segment_size'))
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """`inserted` and `flushed` were read after `at`. `flush_delay`: the longest time, in seconds,
    from a commit with `synchronous_commit = off` to its flush."""

    at: float
    inserted: int
    flushed: int
    flush_delay: float


def make_sample(
    at: float, inserted: int, flushed: int, writer_delay: float, block: int, segment: int
) -> Sample:
    """A sample from a row of SAMPLE.

    Three times wal_writer_delay: documentation of "Asynchronous Commit".
    """
    # Where the last record filled its page, the insert position stands behind the header of the
    # next one, but the stream's at its start. No record ends there: the shortest has 24 bytes
    # itself.
    for size, header in ((segment, LONG_HEADER), (block, SHORT_HEADER)):
        if inserted % size == header:
            inserted -= header
    return Sample(at, inserted, flushed, 3 * writer_delay)


class SampleLog:
    """Samples that the stream has not reached, and the moment that holds for where it is."""

    def __init__(self) -> None:
        self.as_of = 0.0
        """A time at which nothing beyond the stream's position had been committed; 0 if unknown."""
        self._waiting: list[Sample] = []

    def add(self, sample: Sample) -> None:
        if len(self._waiting) >= KEPT:
            del self._waiting[1::2]
        self._waiting.append(sample)

    def reached(self, position: int) -> None:
        """The stream is at `position`: move `as_of` on. Samples are in the order of time and
        position."""
        passed = 0
        for sample in self._waiting:
            if position >= sample.inserted:
                self.as_of = max(self.as_of, sample.at)
                passed += 1
            elif position >= sample.flushed:
                # What is not flushed is not sent. Only asynchronous commits can be there, young
                # ones.
                self.as_of = max(self.as_of, sample.at - sample.flush_delay)
            else:
                break
        del self._waiting[:passed]
