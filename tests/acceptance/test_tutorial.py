"""The tutorial's files and commands, run as they stand there, in order, in an empty folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.local.process import free_port
from tests.shown import Reader, blocks, commands, wait_until_loaded

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-product.md"
EXPECTED = {
    'book(id: \\"9780141439471\\") { title year': ('"Mary Shelley"', '"store":"documents"'),
    "searchBooks": ('"Frankenstein"', '"store":"search"'),
    "authors(orderBy": ('"totalCount":2', '"store":"canonical"'),
    "updateAuthor": ('"token":',),
    "Recordgate-Token": ("Mary Wollstonecraft Shelley",),
    "cat bad.csv": ("year", "authorId"),
}
"""Part of a command → what its output must hold."""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody in an empty folder; whatever the tutorial leaves running is stopped."""
    reader = Reader(tmp_path)
    yield reader
    reader.close()


def test_the_tutorial_does_what_it_says(reader: Reader) -> None:
    port = str(free_port())
    ran: list[str] = []
    for block in blocks(TUTORIAL.read_text("utf-8").replace("8099", port)):
        if "file" in block.options:
            reader.save(block)
        elif block.language == "console":
            for command in commands(block):
                output = reader.run(command)
                ran.append(command.text)
                if command.expected is None:
                    wait_until_loaded(f"http://localhost:{port}")
                for part, needles in EXPECTED.items():
                    if part in command.text:
                        for needle in needles:
                            assert needle in output, f"{command.text}: {output}"
    assert len(ran) >= 14
    for part in EXPECTED:
        assert any(part in command for command in ran), f"the tutorial does not show {part}"
