"""The state machine: Hypothesis chooses the steps, a stage plays them, the oracle judges at the
end."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    get_state_machine_test,
    initialize,
    precondition,
    rule,
)

from tests.histories import reshapes, statements
from tests.histories.faulty import FAULTS
from tests.histories.stage import SINKS, Stage
from tests.histories.steps import (
    REGIMES,
    Step,
    begin,
    play,
    play_all,
    shorten,
    write_script,
)

STEPS_IN_A_HISTORY = 14
SHORTENING = 120.0
"""Seconds for making a failing history shorter."""


class HistoryFailed(AssertionError):
    """A store differs from canonical. The message says how to see it again."""


@dataclass
class Tally:
    """What has been played."""

    histories: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    differences: int = 0


@dataclass
class Player:
    """Plays histories on one stage. Scripts of those that fail go to `scripts`. `after`: called
    after each."""

    stage: Stage
    scripts: Path
    label: str
    tally: Tally = field(default_factory=Tally)
    after: Callable[[], None] = lambda: None
    rare: bool = False
    """Also what costs seconds: gaps, and what is done to tables themselves."""

    def machine(self) -> type[RuleBasedStateMachine]:
        """The machine's class, bound to this player: Hypothesis makes its instances without
        arguments."""
        return type("History", (_History,), {"player": self})

    def play(self, number: int, histories: int) -> None:
        """Random histories of the seed `number`. Raises HistoryFailed."""
        test: Any = get_state_machine_test(
            self.machine(),
            settings=settings(
                max_examples=histories,
                stateful_step_count=STEPS_IN_A_HISTORY,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
        self.label = f"seed-{number}"
        seed(number)(test)()

    def failed(self, steps: list[Step], error: AssertionError) -> HistoryFailed:
        """Write the script, then a shorter one where it still fails."""
        self.tally.differences += len(getattr(error, "differences", "1"))
        whole = self.scripts / f"{self.label}.history"
        write_script(whole, steps, f"A history of {self.label}.", str(error))
        short, last = shortest(self.stage, steps, SHORTENING)
        text = f"{error}\nSee it again: python -m tests.histories replay {whole}"
        if last is not None:
            file = self.scripts / f"{self.label}.short.history"
            write_script(file, short, f"A part of a history of {self.label}.", str(last))
            text += f"\nor its shortest part that fails, {file}:\n{file.read_text()}"
        return HistoryFailed(text)


def shortest(
    stage: Stage, steps: list[Step], seconds: float
) -> tuple[list[Step], AssertionError | None]:
    """The shortest part of a failing history found in the time, and its failure; None where it did
    not fail again."""
    errors: list[AssertionError] = []

    def fails(part: list[Step]) -> bool:
        try:
            play_all(stage, part)
        except AssertionError as error:
            errors.append(error)
            stage.kill()
            return True
        return False

    if not any(fails(steps) for _ in range(3)):
        return steps, None
    return shorten(steps, fails, seconds), errors[-1]


class _History(RuleBasedStateMachine):
    player: Player

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.failure: AssertionError | None = None
        self.began = time.monotonic()
        begin(self.player.stage)

    def do(self, *step: Any) -> None:
        if self.failure is not None:
            return
        self.steps.append(list(step))
        self.player.tally.steps[step[0]] += 1
        try:
            play(self.player.stage, list(step))
        except AssertionError as error:
            self.failure = error

    def teardown(self) -> None:
        self.player.tally.histories += 1
        if self.failure is None:
            try:
                self.player.stage.settle()
            except AssertionError as error:
                self.failure = error
        if self.failure is not None:
            raise self.player.failed(self.steps, self.failure) from None
        self.player.after()

    @initialize(regime=st.sampled_from(sorted(REGIMES)))
    def foreign_keys(self, regime: str) -> None:
        self.do("foreign_keys", regime)

    @initialize(what=statements.transaction(most=12))
    def fill(self, what: list[str]) -> None:
        self.do("transaction", "commit", *statements.BASE)
        self.do("transaction", *what)

    @rule(what=statements.transaction())
    def transaction(self, what: list[str]) -> None:
        self.do("transaction", *what)

    @rule(what=statements.transaction())
    def another_transaction(self, what: list[str]) -> None:
        self.do("transaction", *what)

    @rule(
        sessions=st.lists(
            st.lists(statements.transaction(most=3), min_size=1, max_size=4), min_size=2, max_size=3
        )
    )
    def writers(self, sessions: list[list[list[str]]]) -> None:
        self.do("writers", *sessions)

    @rule(given=statements.imported())
    def bulk(self, given: tuple[str, str, list[dict[str, Any]]]) -> None:
        self.do("bulk", *given)

    @rule(statement=statements.neutral_ddl())
    def ddl(self, statement: str) -> None:
        self.do("transaction", "commit", statement)

    @precondition(lambda self: self.player.rare)
    @rule(kind=st.sampled_from(reshapes.KINDS))
    def reshape(self, kind: str) -> None:
        self.do("reshape", kind)

    @rule(milliseconds=st.sampled_from((1, 10, 40, 120)))
    def sleep(self, milliseconds: int) -> None:
        self.do("sleep", milliseconds)

    @rule(what=st.sampled_from(("stop", "kill", "pause", "cut", "start", "start")))
    def worker(self, what: str) -> None:
        self.do("worker", what)

    @rule(what=st.sampled_from(("kill", "kill", "stop", "pause")), nap=st.integers(0, 60))
    def worker_again(self, what: str, nap: int) -> None:
        """Out and in again, at any moment of what it does."""
        self.do("sleep", nap)
        self.do("worker", what)
        self.do("worker", "start")

    @rule(sink=st.sampled_from(SINKS), fault=st.sampled_from((*FAULTS, None, None)))
    def store(self, sink: str, fault: str | None) -> None:
        self.do("store", sink, fault)

    @rule(
        action=st.sampled_from(("reload", "reload", "rollback")),
        type_name=st.sampled_from(("region", "city", "order", "tag", "line")),
        sink=st.sampled_from((*SINKS, None)),
    )
    def ask(self, action: str, type_name: str, sink: str | None) -> None:
        self.do("ask", action, type_name, sink)

    @precondition(lambda self: self.player.rare)
    @rule(often=st.integers(0, 7))
    def gap(self, often: int) -> None:
        if not often:
            self.do("gap")

    @rule(often=st.integers(0, 3))
    def settle(self, often: int) -> None:
        if not often:
            self.do("settle")


def fresh_seed() -> int:
    return random.SystemRandom().randrange(1, 2**31)
