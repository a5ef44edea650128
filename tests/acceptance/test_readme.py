"""The three first products of README.md, run as they stand there, as far as a machine without
Docker can."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from compose.local.process import free_port
from tests.shown import blocks, wait_until_loaded

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
FILES, DATABASE, STACK = (b.text for b in blocks(README) if b.language == "sh")


@contextmanager
def followed(script: str, folder: Path, name: str) -> Iterator[str]:
    """Run a block to where its last line serves, and yield the URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "RECORDGATE_PORT": str(port)}
    environment["RECORDGATE_DATA_DIR"] = str(folder / "data")
    lines = script.strip().split("\n")
    lines[-1] = f"exec {lines[-1]}"
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-e", "-c", "\n".join(lines)],
            cwd=folder, env=environment, start_new_session=True, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            try:
                wait_until_loaded(url)
            except AssertionError as late:
                raise AssertionError((folder / f"{name}.log").read_text("utf-8")) from late
            yield url
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)


def asked(url: str, query: str) -> object:
    sent = urllib.request.Request(
        f"{url}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(sent, timeout=20) as answer:
        return json.load(answer)["data"]


def test_each_first_product_is_at_most_five_lines() -> None:
    for block in (FILES, DATABASE, STACK):
        assert 1 <= len(block.strip().split("\n")) <= 5


def test_a_first_product_from_files_answers(tmp_path: Path) -> None:
    with followed(FILES, tmp_path, "files") as url:
        data = asked(url, "{ orders(orderBy: [{id: ASC}]) { nodes { day product { name } } } }")
    assert data == {
        "orders": {
            "nodes": [
                {"day": "2026-03-01", "product": {"name": "Table"}},
                {"day": "2026-03-02", "product": {"name": "Chair"}},
            ]
        }
    }


def test_a_first_product_from_a_database_answers(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("CREATE TABLE products (id text PRIMARY KEY, name text NOT NULL)")
        conn.execute("INSERT INTO products VALUES ('1', 'Chair')")
    place = "postgresql://user@host/shop"
    assert place in DATABASE
    with followed(DATABASE.replace(place, database), tmp_path, "database") as url:
        data = asked(url, "{ products { nodes { id name } } }")
    assert data == {"products": {"nodes": [{"id": "1", "name": "Chair"}]}}


def test_what_the_full_stack_is_made_of_is_there() -> None:
    assert subprocess.run(["bash", "-n", "-c", STACK], check=False).returncode == 0
    folder = ROOT / re.search(r"^cd (\S+)$", STACK, flags=re.M)[1]  # type: ignore[index]
    assert os.access(folder / "secrets.sh", os.X_OK)
    assert (folder / "compose.yaml").is_file()
    (contract,) = re.findall(r'\$PWD/(\S+\.odcs\.yaml)"', STACK)
    assert (folder / contract).resolve().is_file()


def test_figures_of_peers_stand_in_the_benchmarks() -> None:
    table = README[README.index("## Measured against peers") :].split("\n\n")[1]
    measured = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    figures = re.findall(r"\| (\d+\.\d+) \|", table)
    assert len(figures) == 4
    for figure in (*figures, "82 ms against 25"):
        assert figure in measured


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_link_of_the_readme_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
