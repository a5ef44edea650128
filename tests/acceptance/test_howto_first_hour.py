"""docs/howto/first-hour.md, run as it stands there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shown import Reader, blocks, commands

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "first-hour.md"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody in an empty folder; whatever is left running is stopped."""
    reader = Reader(tmp_path)
    yield reader
    reader.close()


def test_the_page_does_what_it_says(reader: Reader) -> None:
    outputs: dict[str, str] = {}
    for block in blocks(PAGE.read_text("utf-8")):
        if "file" in block.options:
            reader.save(block)
        elif block.language == "console":
            for command in commands(block):
                outputs[command.text] = reader.run(command)
    contract = (reader.folder / "air.odcs.yaml").read_text("utf-8")
    assert "relationships: [{to: carriers.code}]" in contract
    assert "--null=NA" in contract
    (imported,) = [text for command, text in outputs.items() if "--all" in command]
    assert imported.index("carriers.csv") < imported.index("flights.csv")
    assert "inserted 4" in imported
