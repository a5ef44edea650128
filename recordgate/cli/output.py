"""The output of commands: results to stdout (text or `--json`), progress and logs to stderr, exit
codes."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from recordgate.cli.printable import PrintableFormatter, json_text, printable
from recordgate.settings import Settings, load_settings
from stores.contract.model import Contract
from stores.errors import RecordgateError, SetupError


class Exit(IntEnum):
    """The exit codes of INTERFACE.md."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    SET_ASIDE = 3
    DIFFERENT = 4


_LOGGED = "%(asctime)s %(levelname)s %(name)s: %(message)s"

stderr = Console(stderr=True, highlight=False)


@dataclass
class Invocation:
    """The options that stood before the command; `ctx.obj` of every command."""

    config: Path | None = None
    verbosity: int = 0

    def settings(self, **overrides: Any) -> Settings:
        return load_settings(self.config, **overrides)

    def contract(self, settings: Settings) -> Contract:
        from stores.contract.load import load_contract

        if settings.contract is None:
            raise SetupError(
                "no contract is configured",
                hint="set `contract` in recordgate.toml or RECORDGATE_CONTRACT",
            )
        return load_contract(settings.contract)


def invocation(ctx: typer.Context) -> Invocation:
    found = ctx.find_object(Invocation)
    return found if found is not None else Invocation()


def configure_logging(verbosity: int, level: str = "info") -> None:
    """-q: warnings; -v: debug; else the setting's level."""
    if verbosity:
        level = "debug" if verbosity > 0 else "warning"
    logging.basicConfig(level=level.upper(), stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
            handler.setFormatter(PrintableFormatter(_LOGGED))
    for noisy in ("httpx", "alembic", "elastic_transport", "pymongo", "kafka", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))


def emit(value: Any, *, as_json: bool, text: Callable[[], str] | str) -> None:
    """Write one result to stdout: as JSON where `--json` was given, else `text`."""
    if as_json:
        typer.echo(json_text(value))
    else:
        typer.echo(printable(text if isinstance(text, str) else text()))


def say(text: str) -> None:
    """Write a line of progress to stderr."""
    typer.echo(printable(text), err=True)


def fail(error: RecordgateError, *, as_json: bool = False) -> typer.Exit:
    """Report `error` and give the exit to raise."""
    if as_json:
        body = {"error": {"code": error.detail_code, "message": error.message, "hint": error.hint}}
        typer.echo(json_text(body, indent=False))
    say(f"error: {error.detail_code}: {error.message}")
    if error.hint:
        say(f"  hint: {error.hint}")
    return typer.Exit(Exit.FAILED)


@contextmanager
def reported(*, as_json: bool = False) -> Iterator[None]:
    """Turn an error of ours inside the block into a clear message and exit code 1."""
    try:
        yield
    except RecordgateError as error:
        raise fail(error, as_json=as_json) from None


class ProgressLine:
    """A progress bar where stderr is a terminal; elsewhere a line every `every` seconds."""

    def __init__(
        self, label: str, total: int | None = None, *, unit: str = "rows", every: float = 3.0
    ):
        self.label, self.total, self.unit, self.every = printable(label), total, unit, every
        self.done = 0
        self._started = self._spoke = time.monotonic()
        self._bar: Progress | None = None
        self._fields: dict[str, str] = {"rate": ""}

    def __enter__(self) -> ProgressLine:
        if stderr.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=stderr,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, rate="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, total: int | None = None, label: str | None = None) -> None:
        """`done` of `total` units so far."""
        self.done = done
        self.total = total if total is not None else self.total
        self.label = printable(label) if label else self.label
        now = time.monotonic()
        rate = done / max(now - self._started, 1e-3)
        if self._bar:
            self._bar.update(
                self._task,
                completed=done,
                total=self.total,
                description=self.label,
                rate=f"{rate:,.0f} {self.unit}/s",
            )
        elif now - self._spoke >= self.every:
            self._spoke = now
            left = f", {(self.total - done) / rate:,.0f} s left" if self.total and rate else ""
            of = f" of {self.total:,}" if self.total else ""
            stderr.print(f"{self.label}: {done:,}{of} {self.unit}, {rate:,.0f}/s{left}")
