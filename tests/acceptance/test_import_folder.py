"""A folder of files that no contract was written for: described, applied, and imported in the order
of relationships."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
from typer.testing import CliRunner

from recordgate.cli.app import build

FILES = {
    "city.csv": "id;Name (official);country_code;mayor_id\n1;Paris;FR;1\n2;Bonn;DE;NA\n3;Lyon;FR;2\n",
    "country.csv": "code,name\nFR,France\nDE,Germany\n",
    "mayor.csv": "id,city_id,since\n1,1,2014-04-05\n2,3,NA\n",
}


def run(*arguments: str) -> str:
    found = CliRunner().invoke(build(), arguments)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_a_folder_is_described_applied_and_imported(database: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name, text in FILES.items():
        (data / name).write_text(text)
    contract, config = tmp_path / "folder.odcs.yaml", tmp_path / "recordgate.toml"
    run("contract", "init", "--from", str(data), "--output", str(contract))
    assert "--null=NA" in contract.read_text()
    config.write_text(f'contract = "folder.odcs.yaml"\npostgres = {json.dumps(database)}\n')
    run("--config", str(config), "apply", "--yes")
    imported = run("--config", str(config), "import", "--all", str(data), "--null", "NA", "--json")
    reports = json.loads(imported)
    # Cities and mayors point to each other: one of them has two turns.
    assert [r["rejected"] for r in reports] == [0, 0, 0, 0]
    assert sum(r["inserted"] for r in reports) == 7
    with psycopg.connect(database) as conn:
        rows = conn.execute(
            "SELECT c.name_official, n.name, m.since::text FROM city c"
            " JOIN country n ON n.code = c.country_code LEFT JOIN mayor m ON m.id = c.mayor_id"
            " ORDER BY c.id"
        ).fetchall()
    assert rows == [
        ("Paris", "France", "2014-04-05"),
        ("Bonn", "Germany", None),
        ("Lyon", "France", None),
    ]


def test_a_file_that_no_type_is_called_like_is_refused(database: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "country.csv").write_text(FILES["country.csv"])
    contract, config = tmp_path / "folder.odcs.yaml", tmp_path / "recordgate.toml"
    run("contract", "init", "--from", str(data), "--output", str(contract))
    config.write_text(f'contract = "folder.odcs.yaml"\npostgres = {json.dumps(database)}\n')
    run("--config", str(config), "apply", "--yes")
    (data / "stranger.csv").write_text("a\n1\n")
    found = CliRunner().invoke(build(), ["--config", str(config), "import", "--all", str(data)])
    assert found.exit_code == 1
    assert "stranger.csv" in found.stderr
    rest = run("--config", str(config), "import", "--all", str(data), "--except", "stranger.csv")
    assert "inserted 2" in rest
