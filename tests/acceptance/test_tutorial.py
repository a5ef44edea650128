"""The tutorial's files and commands, run as they stand there, in order, in an empty folder."""

from __future__ import annotations

from pathlib import Path

from compose.local.process import free_port
from tests.shown import Reader, wait_until_loaded

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


def test_the_tutorial_does_what_it_says(reader: Reader) -> None:
    port = str(free_port())
    ran: list[str] = []
    for command, output in reader.follow(TUTORIAL.read_text("utf-8").replace("8099", port)):
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
