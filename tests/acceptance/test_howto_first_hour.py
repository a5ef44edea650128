"""docs/howto/first-hour.md, run as it stands there."""

from __future__ import annotations

from pathlib import Path

from tests.shown import Reader

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "first-hour.md"


def test_the_page_does_what_it_says(reader: Reader) -> None:
    outputs = {command.text: text for command, text in reader.follow(PAGE.read_text("utf-8"))}
    contract = (reader.folder / "air.odcs.yaml").read_text("utf-8")
    assert "relationships: [{to: carriers.code}]" in contract
    assert "--null=NA" in contract
    (imported,) = [text for command, text in outputs.items() if "--all" in command]
    assert imported.index("carriers.csv") < imported.index("flights.csv")
    assert "inserted 4" in imported
    (answer,) = [text for command, text in outputs.items() if "recordgate ask" in command]
    assert '"name": "American Airlines"' in answer
