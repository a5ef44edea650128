"""The files and commands of docs/howto/collect.md, run as they stand there, against a server that
needs its token."""

from __future__ import annotations

import json
from pathlib import Path

from tests.hostile_source import Asked, HostileSource, Reply, hostile_source
from tests.shown import Reader

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "collect.md"
RECORDS = [
    {"key": i, "label": " N/A" if i == 3 else f" s{i} ", "position": {"feet": 10}, "since": "31/12/2020"}
    for i in range(1, 8)
]  # fmt: skip


def page(asked: Asked, nth: int) -> Reply:
    if asked.headers.get("authorization") != "Bearer t0ken":
        return Reply(401, b"{}")
    at = int(asked.query.get("cursor", 0))
    after = at + 3 if at + 3 < len(RECORDS) else None
    body = {"data": RECORDS[at : at + 3], "next": after, "total": len(RECORDS)}
    return Reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})


def test_the_page_does_what_it_says(reader: Reader, database: str) -> None:
    reader.environment |= {"STATIONS_TOKEN": "t0ken", "RECORDGATE_POSTGRES": database}
    with hostile_source(HostileSource(answer=page)) as source:
        shown = PAGE.read_text("utf-8").replace("8765", str(source.port))
        said = {command.text: text for command, text in reader.follow(shown)}
    run = next(v for k, v in said.items() if "--once" in k)
    assert "pages 3  read 7  inserted 7" in run
    status = next(v for k, v in said.items() if "status" in k)
    assert status.startswith("station: ok, as of 0 s ago") or "station: ok, as of" in status
    assert "t0ken" not in "".join(said.values())
