"""docs/howto/moving-up.md, run as it stands there on the tutorial's product: nothing is lost on the
way, and readers of canonical are answered all the time."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from compose.local.process import free_port
from recordgate.embedded.account import choose_account
from recordgate.embedded.binaries import find_binaries
from tests.acceptance.test_tutorial import TUTORIAL
from tests.servers import remove_elasticsearch_indexes
from tests.shown import Block, blocks

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(1800)]
PAGE = TUTORIAL.parents[1] / "howto" / "moving-up.md"
AUTHORS = "{ authors(orderBy: [{id: ASC}]) { nodes { id name } } }"


class Product:
    """One shell in the product's folder, as a reader of the pages has. `names`: what stands there →
    what is here."""

    def __init__(self, folder: Path, names: dict[str, str], path: str) -> None:
        self.folder, self.names = folder, names
        self.shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def here(self, text: str) -> str:
        for name, ours in self.names.items():
            text = text.replace(name, ours)
        return text

    def run(self, command: str) -> None:
        expected = 3 if "# exit 3" in command else 0
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(
            f"{{ {self.here(command)}\n}} </dev/null >output 2>&1\necho $?\n".encode()
        )
        self.shell.stdin.flush()
        ended, _, _ = select.select([self.shell.stdout], [], [], 300)
        output = (self.folder / "output").read_text("utf-8")[-2000:]
        assert ended, f"{command}: goes on after five minutes: {output}"
        code = int(self.shell.stdout.readline())
        assert code == expected, f"{command}: {output}"

    def follow(self, block: Block, after: Callable[[str], object] = str) -> None:
        """Save a block that names a file, run one of the console; `after` is called after each
        command."""
        if "file" in block.options:
            (self.folder / block.options["file"]).write_text(self.here(block.text), "utf-8")
        elif block.language == "console":
            for line in block.text.splitlines():
                self.run(line.removeprefix("$ "))
                after(line)

    def graphql(self, port: str, query: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.names[port]}/graphql",
            json.dumps({"query": query}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait_for(self, port: str) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with suppress(OSError):
                self.graphql(port, AUTHORS)
                return
            time.sleep(0.1)
        raise AssertionError(f"nobody answers on {port}")

    @contextmanager
    def readers(self, port: str) -> Iterator[None]:
        """Somebody reads from canonical inside the block, and is answered every time."""
        wrong: list[str] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.wait(0.02):
                try:
                    answer = self.graphql(port, AUTHORS)
                    if "errors" in answer or len(answer["data"]["authors"]["nodes"]) != 2:
                        wrong.append(f"{answer}")
                except OSError as error:
                    wrong.append(f"{error}")

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert not wrong, wrong[:3]

    def rename(self, port: str, author: int, name: str) -> None:
        answer = self.graphql(
            port,
            f'mutation {{ updateAuthor(id: "{author}", input: {{name: "{name}"}}) {{ token }} }}',
        )
        assert "errors" not in answer, answer

    def names_in_stores(self, port: str) -> dict[str, set[str]]:
        """The authors' names as each store has them, once the gateway asks the new ones."""
        deadline = time.monotonic() + 60
        while True:
            answer = self.graphql(
                port,
                '{ one: author(id: "1") { name } two: author(id: "2") { name }'
                ' searchAuthors(query: "", first: 10) { nodes { name } }'
                " authors(orderBy: [{name: ASC}]) { nodes { name } } }",
            )
            routes = answer["extensions"]["recordgate"]["fields"]
            asked = [routes[name]["store"] for name in ("one", "two", "searchAuthors")]
            if asked == ["documents", "documents", "search"] and "errors" not in answer:
                break
            assert time.monotonic() < deadline, answer
            time.sleep(0.2)
        data = answer["data"]
        return {
            "documents": {data["one"]["name"], data["two"]["name"]},
            "search": {n["name"] for n in data["searchAuthors"]["nodes"]},
            "canonical": {n["name"] for n in data["authors"]["nodes"]},
        }


@pytest.fixture
def product(
    elasticsearch_url: str, mongodb_url: str, database: str, tmp_path: Path
) -> Iterator[Product]:
    """In an empty folder. What it has left running is ended."""
    name = f"t{os.urandom(8).hex()}"
    names = {
        "elasticsearch://localhost:9200/library": f"{elasticsearch_url}/{name}",
        "mongodb://localhost:27017/library": f"{mongodb_url}/{name}",
        "postgresql://recordgate@db.internal/library": database,
        **{port: str(free_port()) for port in ("8099", "8098", "8097", "5433")},
    }
    programs = find_binaries(choose_account(tmp_path)).folder
    path = os.pathsep.join([str(Path(sys.executable).parent), str(programs), os.environ["PATH"]])
    found = Product(tmp_path, names, path)
    try:
        yield found
    finally:
        found.shell.kill()
        found.shell.communicate()
        for file in tmp_path.glob("*.pid"):
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)
        remove_elasticsearch_indexes(f"{elasticsearch_url}/{name}")


def test_a_product_moves_up_without_loss_and_its_readers_do_not_notice(product: Product) -> None:
    for block in blocks(TUTORIAL.read_text("utf-8")):
        if "recordgate up" in block.text:
            break
        product.follow(block)
    product.run("recordgate up & echo $! > up.pid")
    product.wait_for("8099")
    done: list[str] = []
    with ExitStack() as reading:

        def after(command: str) -> None:
            done.append(command)
            if "servers.toml serve" in command:
                product.wait_for("8098")
                reading.enter_context(product.readers("8098"))
            elif "servers.toml sync" in command:
                product.rename("8099", 1, "before the worker changed")
            elif "cat up.pid" in command:
                product.rename("8098", 2, "while it changed")
            elif "servers.toml verify" in command:
                names = {"before the worker changed", "while it changed"}
                found = product.names_in_stores("8098")
                assert found == dict.fromkeys(("documents", "search", "canonical"), names)
                reading.close()
            elif "copy.toml serve" in command:
                product.wait_for("8098")
                reading.enter_context(product.readers("8098"))
            elif "server.toml up" in command:
                product.wait_for("8097")
                reading.enter_context(product.readers("8097"))
                product.rename("8097", 1, "in the new database")
            elif "server.toml verify" in command:
                names = {"in the new database", "while it changed"}
                found = product.names_in_stores("8097")
                assert found == dict.fromkeys(("documents", "search", "canonical"), names)
                reading.close()

        for block in blocks(PAGE.read_text("utf-8")):
            product.follow(block, after)
    assert sum("verify" in command for command in done) == 2
    assert any("pg_dump" in command for command in done)
