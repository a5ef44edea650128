"""docs/howto/change-a-contract.md, run as it stands there."""

from __future__ import annotations

from pathlib import Path

from tests.shown import Reader

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "change-a-contract.md"


def test_the_page_does_what_it_says(reader: Reader) -> None:
    outputs = [(command.text, text) for command, text in reader.follow(PAGE.read_text("utf-8"))]
    said = {command: text for command, text in outputs if "dry-run" in command or "curl" in command}
    assert "add column price" in said["recordgate migrate --dry-run"]
    assert '"items"' in said[next(c for c in said if "graphql" in c)]
    assert "contract 1.0.0, which it has already" in dict(outputs)["recordgate reload-config"]
