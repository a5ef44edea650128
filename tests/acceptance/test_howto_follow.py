"""docs/howto/follow.md, run as it stands there."""

from __future__ import annotations

import json
from pathlib import Path

from compose.local.process import free_port
from tests.shown import Command, Reader

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "follow.md"


def test_the_page_does_what_it_says(reader: Reader) -> None:
    port = free_port()
    reader.environment["URL"] = f"http://127.0.0.1:{port}"
    outputs: list[str] = []
    for command, output in reader.follow(PAGE.read_text("utf-8")):
        outputs.append(output)
        if command.text.startswith("recordgate apply"):
            # The server is not started for each command.
            reader.run(Command(f"recordgate up --port {port}", None))
    told = [json.loads(line) for line in outputs[-1].splitlines()]
    held = {1: "Oslo", 2: "Lima"}
    for change in told[:-1]:
        if change["op"] == "upsert":
            held[change["record"]["id"]] = change["record"]["name"]
        else:
            del held[change["record"]["id"]]
    assert held == {2: "Lima Norte", 3: "Accra"}
    assert told[-1]["op"] == "next"
    exported = (reader.folder / "stations.ndjson").read_text().splitlines()
    assert [json.loads(line)["id"] for line in exported] == [1, 2]
