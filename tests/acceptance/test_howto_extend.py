"""The how-to pages for contributors, done as they stand there in a copy of the checkout: what they
add keeps the promises of the conformance suite."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shown import Command, Reader, blocks, commands

ROOT = Path(__file__).parents[2]
HOWTO = ROOT / "docs" / "howto"
SIX_KILLS = "test_a_killed_writer_leaves_what_it_published_and_no_half"
"""A third of the suite's time; the test after it kills a writer, too."""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Reader]:
    """A contributor in a copy of the checkout, whose files are imported before this one's."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in (
        "stores",
        "sync",
        "gateway",
        "recordgate",
        "migrations",
        "compose",
        "tests",
        "docs",
    ):
        shutil.copytree(
            ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    options = f"-p no:cacheprovider --deselect tests/conformance/test_store_crash.py::{SIX_KILLS}"
    reader = Reader(folder, {"PYTHONPATH": str(folder), "PYTEST_ADDOPTS": options})
    yield reader
    reader.close()


@pytest.mark.parametrize(
    ("page", "passed"), [("add-a-store.md", 50), ("add-a-change-source.md", 20)]
)
def test_what_the_page_adds_keeps_the_promises(checkout: Reader, page: str, passed: int) -> None:
    outputs = []
    for block in blocks((HOWTO / page).read_text("utf-8")):
        if "file" in block.options:
            checkout.save(block)
        elif block.language == "console":
            outputs += [checkout.run(command, timeout=120) for command in commands(block)]
    for check in ("ruff check", "ruff format --check"):
        checkout.run(Command(f"{check} {' '.join(sorted(checkout.written))}", 0))
    counts = [int(o.split(" passed")[0].split()[-1]) for o in outputs if " passed" in o]
    assert counts[0] >= passed, "the suite did not run on what was added"
