"""docs/howto/service-levels.md, run as it stands there; and what a gateway of `up` writes
meanwhile."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from compose.local.process import free_port
from tests.shown import Command, Reader

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "service-levels.md"
QUERY = json.dumps({"query": "{ sales { nodes { id } } }"}).encode()


def test_the_page_does_what_it_says_and_the_gateway_writes(reader: Reader) -> None:
    outputs: dict[str, str] = {}
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    for command, text in reader.follow(PAGE.read_text("utf-8")):
        outputs[command.text] = text
        if command.text.startswith("recordgate apply"):
            reader.run(Command(f"recordgate up --port {port}", None))
        if command.text == "recordgate slo":
            ask(url)
    assert outputs["recordgate slo"].count("not known: ") == 4
    levels = json.loads((reader.folder / "levels.json").read_text())["levels"]
    assert [level["objective"] for level in levels] == [
        "availability", "errorRate", "responseTime of sale", "freshness",
    ]  # fmt: skip
    rules = yaml.safe_load((reader.folder / "slo-rules.yml").read_text())
    assert [g["name"] for g in rules["groups"]] == [
        "recordgate-slo-availability", "recordgate-slo-errorrate",
        "recordgate-slo-responsetime-sale-0-2s", "recordgate-slo-freshness-60s-documents",
    ]  # fmt: skip
    assert len(list(yaml.safe_load_all((reader.folder / "slo.yaml").read_text()))) == 4
    wanted = (
        'recordgate_sli_good{indicator="availability"} 1.0',
        'recordgate_sli_requests_total{indicator="errorRate",outcome="good"}',
    )
    deadline = time.monotonic() + 40
    seen = ""
    while not all(w in seen for w in wanted):
        assert time.monotonic() < deadline, seen
        time.sleep(0.5)
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            seen = answer.read().decode()


def ask(url: str) -> None:
    request = urllib.request.Request(f"{url}/graphql", QUERY, {"Content-Type": "application/json"})
    deadline = time.monotonic() + 40
    while True:
        try:
            with urllib.request.urlopen(request) as answer:
                assert json.load(answer)["data"] == {"sales": {"nodes": []}}
            return
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
