"""Clients made from a contract compile, whatever its names and texts are, and say nothing else."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.schema import build_schema
from recordgate.clients.model import model_of
from recordgate.clients.python import python_client
from recordgate.clients.typescript import comment, typescript_types
from stores.contract.load import load_contract
from tests.acceptance.gateway_rig import GEONAMES

ROOT = Path(__file__).parents[2]
HOSTILE = '"""\nimport os; os.abort() */ \\" \u2028 ${x} \x7f \'\'\' \\N{DASH} é */alert(1)/*'
ODD = f"""
apiVersion: v3.2.0
kind: DataContract
id: odd
name: Odd
version: 1.0.0
status: active
schema:
  - name: client
    description: {json.dumps(HOSTILE)}
    properties:
      - {{name: class, logicalType: integer, primaryKey: true, required: true}}
      - {{name: from, logicalType: string, description: {json.dumps(HOSTILE)}}}
      - {{name: int, logicalType: integer}}
      - {{name: self, logicalType: date}}
      - {{name: naive-cafe, logicalType: string}}
      - {{name: None, logicalType: boolean}}
  - name: page
    properties:
      - {{name: str, logicalType: string, primaryKey: true, required: true}}
      - name: kind
        logicalType: string
        customProperties: [{{property: search, vendor: recordgate, value: {{text: true, facet: true}}}}]
  - name: ask
    properties:
      - {{name: id, logicalType: string, primaryKey: true, required: true}}
  - name: import
    properties:
      - {{name: id, logicalType: string, primaryKey: true, required: true}}
"""


def made(path: Path, title: str = "t") -> tuple[str, str]:
    contract = load_contract(path)
    model = model_of(build_schema(contract).graphql, contract)
    return python_client(model, title), typescript_types(model, title)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    odd = tmp_path_factory.mktemp("odd") / "odd.odcs.yaml"
    odd.write_text(ODD, "utf-8")
    return {
        "geonames": made(GEONAMES),
        "every_type": made(ROOT / "tests/acceptance/every_type.odcs.yaml"),
        "restricted": made(ROOT / "tests/acceptance/restricted.odcs.yaml"),
        "odd": made(odd, HOSTILE),
    }


def test_each_python_client_is_strictly_typed(
    clients: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    for name, (text, _) in clients.items():
        assert text.isascii()
        (tmp_path / f"{name}_client.py").write_text(text)
    (tmp_path / "use.py").write_text(
        "from geonames_client import Client, City, Page\n"
        "def f(c: Client) -> list[str]:\n"
        "    page: Page[City] = c.cities(filter={'population': {'gte': 5}}, first=3)\n"
        "    c.update_city('1', {'name': 'x'})\n"
        "    return [city['name'] for city in page.nodes]\n"
        "def g(c: Client) -> None:\n"
        "    c.cities(filter={'populatoin': {}})\n"
    )
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.count("error:") == 1, done.stdout
    assert re.search(r'use\.py:7: error: Argument "filter" to "cities"', done.stdout)


def test_texts_of_a_contract_are_literals_and_names_are_given_once(
    clients: dict[str, tuple[str, str]],
) -> None:
    tree = ast.parse(clients["odd"][0])
    names = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    (client,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Client"]
    methods = [n.name for n in client.body if isinstance(n, ast.FunctionDef)]
    assert len(set(methods)) == len(methods)
    assert {"import_", "all_pages", "client", "ask_", "ask"} <= set(methods)
    assert names.count("Client") == 1
    assigned = {
        t.id
        for n in tree.body
        if isinstance(n, ast.Assign)
        for t in n.targets
        if isinstance(t, ast.Name)
    }
    assert {"Client_", "Page_"} <= assigned
    # Nothing but definitions, assignments, imports and literals stands in the module.
    allowed = (ast.ClassDef, ast.Assign, ast.Import, ast.ImportFrom)
    for node in tree.body:
        literal = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert isinstance(node, allowed) or literal
    imported = {
        n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names
    }
    assert imported == {"httpx"}


def test_typescript_has_types_and_comments_only(clients: dict[str, tuple[str, str]]) -> None:
    line = re.compile(
        r'(export type \w+ = "\w+"( \| "\w+")*;|export interface \w+ \{|\}|'
        r'  "\w+"\??: [\w<>| ]+;|)\Z'
    )
    for name, (_, text) in clients.items():
        assert text.isascii(), name
        bare = re.sub(r"/\*\*.*?\*/", "", text)
        for found in bare.splitlines():
            assert line.match(found.rstrip() if found.strip() else ""), (name, found)
    assert "*/" not in comment(HOSTILE)
    assert "\n" not in comment(HOSTILE)


@pytest.mark.skipif(shutil.which("tsc") is None, reason="TypeScript's compiler is not installed")
def test_typescript_compiles(clients: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    for name, (_, text) in clients.items():
        (tmp_path / f"{name}.ts").write_text(text)
        subprocess.run(["tsc", "--strict", "--noEmit", str(tmp_path / f"{name}.ts")], check=True)


def test_the_same_contract_gives_the_same_text(clients: dict[str, tuple[str, str]]) -> None:
    program = (
        "import sys; from tests.unit.test_clients import made, GEONAMES\n"
        "sys.stdout.write(''.join(made(GEONAMES)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "".join(clients["geonames"])
