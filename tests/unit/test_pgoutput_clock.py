"""How old a position is: never said to be younger than it is, whatever the order of samples and
positions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sync.sources.pgoutput.clock import KEPT, Sample, SampleLog, make_sample


def sample(at: float, inserted: int, flushed: int | None = None) -> Sample:
    return Sample(at, inserted, inserted if flushed is None else flushed, 0.6)


def test_a_sample_holds_once_the_stream_has_reached_its_position() -> None:
    log = SampleLog()
    log.add(sample(1.0, 100))
    log.reached(99)
    assert log.as_of == 0.0
    log.reached(100)
    assert log.as_of == 1.0


def test_unflushed_log_costs_the_time_in_which_an_asynchronous_commit_is_flushed() -> None:
    log = SampleLog()
    log.add(sample(10.0, 200, flushed=100))
    log.reached(100)
    assert log.as_of == 9.4
    log.reached(200)
    assert log.as_of == 10.0


def test_a_stream_that_lags_is_dated_by_the_newest_sample_it_reached() -> None:
    log = SampleLog()
    for i in range(1, 10):
        log.add(sample(float(i), i * 100))
    log.reached(550)
    assert log.as_of == 5.0
    log.reached(900)
    assert log.as_of == 9.0


def test_a_long_lag_is_dated_more_coarsely_and_still_covered() -> None:
    log = SampleLog()
    for i in range(1, 2000):
        log.add(sample(float(i), i))
    assert len(log._waiting) <= KEPT
    log.reached(1999)
    assert log.as_of >= 1000.0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("commit"), st.integers(1, 50)),
            st.tuples(st.just("sample"), st.just(0)),
            st.tuples(st.just("stream"), st.integers(0, 100)),
        ),
        max_size=80,
    )
)
def test_no_commit_beyond_the_position_is_older_than_its_date(steps: list[tuple[str, int]]) -> None:
    """A log that grows by commits, read at any time: each position is dated before the first commit
    beyond."""
    log = SampleLog()
    end, stream, now = 0, 0, 0.0
    commits: list[tuple[int, float]] = []
    for kind, amount in steps:
        now += 1
        if kind == "commit":
            end += amount
            commits.append((end, now))
        elif kind == "sample":
            log.add(sample(now, end))
        else:
            stream += (end - stream) * amount // 100
            log.reached(stream)
            assert all(moment > log.as_of for lsn, moment in commits if lsn > stream)


def test_an_insert_position_behind_a_page_header_is_that_pages_start() -> None:
    block, segment = 8192, 16 << 20
    assert make_sample(1.0, 5 * block + 24, 5 * block, 0.2, block, segment).inserted == 5 * block
    assert make_sample(1.0, 5 * block + 40, 0, 0.2, block, segment).inserted == 5 * block + 40
    assert make_sample(1.0, segment + 40, segment, 0.2, block, segment).inserted == segment
    assert make_sample(1.0, 5 * block + 48, 0, 0.2, block, segment).inserted == 5 * block + 48
