"""The whole products of examples/, each run from its README as it stands there, in a copy of its
folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from compose.local.process import free_port
from tests.shown import Reader, blocks, commands, wait_until_loaded

EXAMPLES = Path(__file__).parents[2] / "examples"
SHELL_LINES = 10
EXPECTED = {
    "library": {
        "q=frankenstien": ("<em>Frankenstein</em>", '"Mary Shelley"', '"store":"search"'),
        "q=sea": ("Moby-Dick", '{"value":"science fiction","count":1}', '{"value":1851,"count":1}'),
        "suggest": ("Gulliver's Travels",),
        "9780142437247": ('"Herman Melville"', '"born":1819', '"store":"documents"'),
        "verify": ("0 differences",),
    },
    "lending": {
        "{ books": (
            '{"title":"Frankenstein","available":1}',
            '{"title":"Gulliver\'s Travels","available":0}',
            '"overdue":[{"id":"1","due":"2020-01-31"},{"id":"2","due":"2020-02-15"}]',
        ),
        "number: 4": ('"lend":{"id":"4","book":{"title":"Frankenstein","available":0}}',),
        "number: 5": ("all copies of Frankenstein are out", "BAD_USER_INPUT"),
        "verify": ("0 differences",),
    },
    "orders": {
        "deadletters": ("order/103", "NOT_IN_ENUM", "line/102,3", "DUPLICATE_VALUE"),
        "orders { totalCount": ("UNAUTHENTICATED",),
        "verify": ("0 differences",),
    },
}
"""By example: part of a command → what its output holds."""


def follow(reader: Reader, name: str) -> dict[str, str]:
    """Do what an example's README says. Return the output of each command."""
    port = str(free_port())
    shutil.copytree(EXAMPLES / name, reader.folder, dirs_exist_ok=True)
    settings = reader.folder / "recordgate.toml"
    settings.write_text(settings.read_text("utf-8").replace("8099", port), "utf-8")
    readme = (reader.folder / "README.md").read_text("utf-8").replace("8099", port)
    shown = [c for block in blocks(readme) for c in commands(block)]
    assert len(shown) <= SHELL_LINES
    outputs = {}
    for command in shown:
        outputs[command.text] = reader.run(command)
        if command.expected is None:
            wait_until_loaded(f"http://localhost:{port}")
    for part, needles in EXPECTED[name].items():
        (output,) = [o for text, o in outputs.items() if part in text]
        for needle in needles:
            assert needle in output, f"{part}: {output}"
    return outputs


def test_the_library_does_what_it_says(reader: Reader) -> None:
    follow(reader, "library")


def test_the_lending_library_does_what_it_says(reader: Reader) -> None:
    follow(reader, "lending")


def test_the_orders_do_what_they_say(reader: Reader) -> None:
    outputs = follow(reader, "orders")
    (answers,) = [o for text, o in outputs.items() if "north: order" in text]
    sales, support, partner = answers.splitlines()
    assert '"email":"bo@lindqvist.example"' in sales
    assert '"margin":"31.00"' in sales
    assert '"email":"bo***"' in support
    assert '"margin":null' in support
    assert '"north":null' in partner
    assert "conti.example" not in partner
    assert '"store":"documents"' in sales
    for answer in (sales, support, partner):
        assert '"article":"chair"' in answer
