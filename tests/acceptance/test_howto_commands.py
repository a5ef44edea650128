"""The commands that the older how-to pages show (import, export, reload, authentication, several
gateways, attach), each run as it stands there but for its names: `NAMES` puts the test's own keys,
ids and files in their place."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from compose.local.process import free_port
from tests.shown import Command, Reader, wait_until_loaded

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
CONTRACT = """
apiVersion: v3.2.0
kind: DataContract
id: places
version: 1.0.0
status: active
roles: [{role: analyst, access: read}]
schema:
  - name: city
    physicalName: cities
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - {name: name, logicalType: string, required: true, customProperties: [{property: search, vendor: recordgate, value: {text: true}}]}
      - {name: population, logicalType: integer}
"""
CITIES = "id,name,population\n" + "".join(f"{i},City {i},{i}\n" for i in range(1, 41))
SHOWN = re.compile(r"^(?:    |\$ )?((?:recordgate |curl |head |snapshot=).*?)\s*(?:#.*)?$")


def shown(page: str) -> list[str]:
    """Return the commands of a page's blocks, in order."""
    text = (HOWTO / page).read_text("utf-8")
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            found = SHOWN.match(line)
            if found:
                lines.append(found[1])
    return lines


@dataclass
class World:
    reader: Reader
    url: str
    outputs: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, *, code: int = 0) -> str:
        self.outputs[command] = self.reader.run(Command(command, code))
        return self.outputs[command]

    def cut(self, command: str) -> None:
        """Take the address of the export, as the page does, and cut its file as a lost line
        would."""
        text = self.run(f'{command}; echo "$snapshot"')
        self.reader.environment["snapshot"] = text.strip()
        file = self.reader.folder / "cities.csv"
        file.write_bytes(file.read_bytes()[:100])

    def rejected(self) -> str:
        """Return the id of a batch that has set a row aside anew."""
        (self.reader.folder / "bad.csv").write_text("id,name\n7,\n8,City 8\n")
        text = self.run("recordgate import city bad.csv", code=3)
        return re.findall(r"batch (\S+)", text)[-1]

    def letter(self) -> str:
        self.rejected()
        text = self.run("recordgate deadletters list")
        return re.findall(r"^\s*(\d+)\s", text, re.MULTILINE)[-1]


@pytest.fixture
def world(reader: Reader) -> World:
    folder = reader.folder
    (folder / "places.odcs.yaml").write_text(CONTRACT)
    (folder / "recordgate.toml").write_text('contract = "places.odcs.yaml"\ndata_dir = "product"\n')
    (folder / "cities.csv").write_text(CITIES)
    (folder / "data").mkdir()
    (folder / "data" / "city.csv").write_text(CITIES.replace(",3\n", ",NA\n"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    reader.environment["URL"] = url
    reader.run(Command("recordgate apply --yes", 0))
    reader.run(Command(f"recordgate up --port {port}", None))
    wait_until_loaded(url)
    return World(reader, url)


Change = Callable[[World, str], str]
NAMES: dict[str, Change] = {
    # How a shown command becomes one of the test's; what is not here is run as it stands.
    "recordgate deadletters list --batch ID": lambda w, c: c.replace("ID", w.rejected()),
    "recordgate deadletters show 17": lambda w, c: c.replace("17", w.letter()),
    "recordgate deadletters discard --batch ID": lambda w, c: c.replace("ID", w.rejected()),
    "head -c 32 /dev/urandom | base64 > /run/secrets/recordgate-tokens": lambda w, c: c.replace(
        "/run/secrets/recordgate-tokens", "tokens"
    ),
}
CODES = {"recordgate deadletters replay 17": 3}
"""Exit codes that are not 0: what is replayed is as wrong as before."""
PAGES = ("import.md", "export.md", "reload.md", "several-gateways.md", "authentication.md")


def test_the_commands_of_the_pages_do_what_they_say(world: World) -> None:
    for page in PAGES:
        commands = shown(page)
        assert commands, page
        for command in commands:
            if command.startswith("curl -H"):
                continue  # below, once the gateway was started anew
            if command.startswith("snapshot="):
                world.cut(command)
                continue
            made = NAMES[command](world, command) if command in NAMES else command
            if command == "recordgate deadletters replay 17":
                made = command.replace("17", world.letter())
            world.run(made, code=CODES.get(command, 0))
    folder = world.reader.folder
    assert "inserted 40" in world.outputs["recordgate import city cities.csv"]
    assert "city" in (folder / "contract.odcs.yaml").read_text("utf-8")
    assert (folder / "cities.parquet").read_bytes()[:4] == b"PAR1"
    assert '"complete":true' in world.outputs['curl "$URL$snapshot&manifest=1"'].replace(" ", "")
    assert len((folder / "cities.csv").read_text("utf-8").splitlines()) == 41
    assert "generation" in world.outputs["recordgate rollback city"]


def test_a_key_lets_in_where_the_page_says(world: World) -> None:
    made = world.run("recordgate keys create --role analyst --name dashboard --expires 90d")
    (key,) = re.findall(r"rgk_\S+", made)
    (template,) = [c for c in shown("authentication.md") if c.startswith("curl -H")]
    world.reader.close()
    world.reader.running.clear()
    port = free_port()
    world.reader.run(Command(f"recordgate up --port {port}", None))
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=2).close()
            break
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    shown_key = re.findall(r"rgk_[^\"]+", template)[0]
    command = template.replace(shown_key, key).replace("localhost:8080", f"127.0.0.1:{port}")
    assert '"hits"' in world.run(command.replace("curl ", "curl -s ", 1))
    refused = command.replace(key, key[:-2] + "xx")
    assert "UNAUTHENTICATED" in world.run(refused.replace("curl ", "curl -s ", 1))


def test_tables_that_are_there_are_attached_as_the_page_says(database: str, reader: Reader) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE TABLE brands (code text PRIMARY KEY, name text)")
        conn.execute("INSERT INTO brands VALUES ('a', 'A')")
    commands = shown("attach.md")
    assert [c.split()[1] for c in commands] == [
        "contract",
        "contract",
        "--config",
        "--config",
        "--config",
    ]
    port = free_port()
    (reader.folder / "recordgate.toml").write_text(
        f'contract = "shop.odcs.yaml"\ndata_dir = "data"\npostgres = "{database}"\nport = {port}\n'
    )
    for command in commands:
        background = command.endswith(" up")
        named = command.replace("postgresql://user@host/shop", f"'{database}'")
        if named.endswith(" apply"):
            named += " --yes"
        reader.run(Command(named, None if background else 0))
    wait_until_loaded(f"http://127.0.0.1:{port}")
