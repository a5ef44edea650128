"""docs/howto/quality.md, run as it stands there; and the worker's part of it, in a process of
`up`."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

from compose.local.process import free_port
from tests.shown import Command, Reader

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "quality.md"


def test_the_page_does_what_it_says_and_the_worker_measures(reader: Reader) -> None:
    outputs: dict[str, str] = {}
    port = free_port()
    for command, text in reader.follow(PAGE.read_text("utf-8")):
        outputs[command.text] = text
        if command.text.startswith("recordgate apply"):
            # The worker runs beside what the page does; and the server is not started for each
            # command.
            reader.run(Command(f"recordgate up --port {port}", None))
    refused = json.loads((reader.folder / "refused.json").read_text())
    assert (refused["state"], refused["error"]["code"]) == ("refused", "RULE_BROKEN")
    (rule,) = refused["gate"]
    assert (rule["rule"], rule["value"], rule["examples"]) == ("shop-known", 1, [{"id": 2}])
    assert "broken: shop-known (error): 1" in outputs["recordgate import sale monday.csv"]
    shown = json.loads((reader.folder / "shown.json").read_text())
    rules = {r["rule"]: r for r in shown["types"][0]["rules"]}
    assert {name: r["state"] for name, r in rules.items()} == {
        "enough": "passed",
        "no-refunds": "passed",
        "shop-known": "broken",
    }
    assert len(rules["enough"]["history"]) >= len(rules["shop-known"]["history"]) + 1
    wanted = 'recordgate_quality_passed{rule="shop-known",severity="error",type="sale"} 0.0'
    deadline = time.monotonic() + 40
    text = ""
    while wanted not in text and time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            continue
    assert wanted in text
    assert 'recordgate_quality_bad_ratio{rule="shop-known",type="sale"} 0.5' in text
    assert "recordgate_monitor_seconds_total " in text
