"""docs/howto/backup.md, run as it stands there."""

from __future__ import annotations

from pathlib import Path

from recordgate.embedded import EmbeddedPostgres
from tests.shown import Reader

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "backup.md"


def test_the_page_does_what_it_says(reader: Reader) -> None:
    # Held here, so that the server is not started for each command.
    with EmbeddedPostgres(reader.folder / ".recordgate", {"fsync": "off"}):
        outputs = {command.text: text for command, text in reader.follow(PAGE.read_text("utf-8"))}
    (answer,) = [text for command, text in outputs.items() if "{ tea(" in command]
    assert '"name": "Assam"' in answer
    (listed,) = [text for command, text in outputs.items() if "--settings-into" in command]
    assert listed.endswith("contract.odcs.yaml\n")
