"""The table of a run: printed row by row while it is made, kept in benchmarks/results/ when it is
whole."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).parent / "results"


class Table:
    """`name` is the file's, `columns` the heads; cells are text, or numbers with three digits that
    count."""

    def __init__(self, name: str, title: str, columns: list[str]) -> None:
        self.name, self.title, self.columns = name, title, columns
        self.rows: list[list[str]] = []
        self.load = os.getloadavg()[0]
        self.began = datetime.now(UTC)
        self._print(columns)

    def row(self, *cells: str | float) -> None:
        texts = [c if isinstance(c, str) else number(c) for c in cells]
        texts += [""] * (len(self.columns) - len(texts))
        self.rows.append(texts)
        self._print(texts)

    def save(self) -> None:
        """Load: how many processes ran on average in the minute before, which should be none."""
        about = (
            f"{self.began:%Y-%m-%d %H:%M} UTC, {platform.machine()}, {os.cpu_count()} cores,"
            f" Python {platform.python_version()}, load before: {self.load:.1f}"
        )
        lines = [f"# {self.title}", "", f"Written by `make bench ONLY={self.name}`; {about}.", ""]
        lines += [_line(self.columns), _line(["---"] * len(self.columns)), *map(_line, self.rows)]
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{self.name}.md").write_text("\n".join(lines) + "\n", "utf-8")

    def _print(self, cells: list[str]) -> None:
        print("".join(f"{c:>13}" if i else f"{c:28}" for i, c in enumerate(cells)), flush=True)


def number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
