"""docs/howto/clients.md, run as it stands there, and its program against a gateway."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from tests.acceptance.test_up import started
from tests.shown import Command, Reader, wait_until_loaded

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "clients.md"


def test_the_program_of_the_page_does_what_it_says(reader: Reader, database: str) -> None:
    list(reader.follow(PAGE.read_text("utf-8")))
    contract = reader.folder / "contract.odcs.yaml"
    # Slots are named by the contract, and are the server's.
    contract.write_text(contract.read_text().replace("id: tea", f"id: tea{secrets.token_hex(4)}"))
    config = reader.folder / "recordgate.toml"
    config.write_text(
        f'contract = "contract.odcs.yaml"\npostgres = {json.dumps(database)}\ndata_dir ='
        f' "data"\nport = 0\n'
    )
    with started(config, "up") as up:
        wait_until_loaded(up.url)
        told = reader.run(Command(f"python use.py {up.url}", 0))
        assert up.stop() == 0
    assert told.splitlines() == ["Ceylon", "['Darjeeling'] None", "None", "CONSTRAINT_VIOLATION"]
    assert "interface Tea {" in (reader.folder / "teas.ts").read_text()
