"""The command `import`: exit codes, what it prints, standard input, and what a killed reader of it
sees."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recordgate.cli.app import build
from tests.import_target import Target, new_target


@pytest.fixture(scope="module")
def module_target(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with new_target(postgres, tmp_path_factory.mktemp("import")) as target:
        yield target


@pytest.fixture
def target(module_target: Target) -> Target:
    module_target.clean()
    return module_target


def run(target: Target, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The command, in this process: what it wrote and its exit code."""
    with contextlib.chdir(target.folder):
        done = CliRunner().invoke(
            build(arguments[0]), ["--config", str(target.settings()), *arguments], input=stdin
        )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return subprocess.CompletedProcess(
        arguments, done.exit_code, done.stdout_bytes, done.stderr_bytes
    )


def test_exit_codes_and_json(target: Target) -> None:
    target.file("makers.csv", "code,name\nAB,x\nCD,\n")
    done = run(
        target, "import", "maker", "makers.csv", "--json", "--rejects", "out.csv", "--batch", "b"
    )
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert (report["inserted"], report["rejected"], report["reasons"]) == (1, 1, {"REQUIRED": 1})
    assert (target.folder / "out.csv").read_text().splitlines()[1].startswith("3,name,,REQUIRED")
    again = run(target, "import", "maker", "makers.csv", "--batch", "b")
    assert again.returncode == 0
    assert b"imported before" in again.stdout
    refused = run(target, "import", "maker", "makers.csv", "--max-rejects", "0", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["error"]["code"] == "LIMIT_EXCEEDED"


def test_standard_input_and_map(target: Target) -> None:
    done = run(
        target, "import", "maker", "-", "--format", "csv", "--map", "c=code", "--map", "junk=",
        stdin=b"c,name,junk\nAB,x,1\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert target.rows("SELECT code FROM makers") == [("AB",)]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["import", "maker", "none.csv"], 1, b"none.csv"),
        (["import", "nobody", "makers.csv"], 1, b"its types are maker, item, visit"),
        (["import", "maker", "makers.csv", "--map", "x"], 1, b"COLUMN=FIELD"),
        (["import", "maker", "makers.csv", "--max-deletes", "many"], 1, b"not a limit"),
        (["import", "maker", "makers.csv", "--mode", "merge"], 2, b"merge"),
        (["import", "maker", "-"], 1, b"--format"),
    ],
)
def test_a_wrong_call_is_a_clear_error(
    target: Target, arguments: list[str], code: int, says: bytes
) -> None:
    target.file("makers.csv", "code,name\nAB,x\n")
    done = run(target, *arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert b"Traceback" not in done.stderr
    assert target.rows("SELECT count(*) FROM makers") == [(0,)]


def test_the_secrets_of_the_url_are_not_shown(target: Target, tmp_path: Path) -> None:
    (tmp_path / "imports.odcs.yaml").write_bytes((target.folder / "imports.odcs.yaml").read_bytes())
    (tmp_path / "recordgate.toml").write_text(
        'contract = "imports.odcs.yaml"\npostgres = "postgresql://u:hunter2@127.0.0.1:1/db"\n'
    )
    (tmp_path / "m.csv").write_text("code,name\nAB,x\n")
    done = subprocess.run(
        [sys.executable, "-m", "recordgate", "import", "maker", "m.csv"],
        cwd=tmp_path, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"STORE_UNAVAILABLE" in done.stderr
    assert b"hunter2" not in done.stderr + done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_memory_is_bounded_however_large_the_rows_are(target: Target) -> None:
    with (target.folder / "large.csv").open("w") as file:
        file.write("code,name\n")
        for i in range(5):
            file.write(f"A{chr(65 + i)},{'x' * 10_000_000}\n")
            file.writelines(f"a{n},bad\n" for n in range(5000))
    # The process itself reads its peak: what wait4 gives begins with the memory of the test's
    # process.
    program = (
        "import sys; from recordgate.cli.app import main\n"
        "try: main()\n"
        "finally: print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')), file=sys.stderr)"
    )
    arguments = ["--config", str(target.settings()), "import", "maker", "large.csv"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=target.folder, capture_output=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert target.rows("SELECT count(*), min(length(name)) FROM makers") == [(5, 10_000_000)]
    peak = re.search(rb"VmHWM:\s+(\d+) kB", done.stderr)
    assert peak is not None
    assert int(peak[1]) / 1024 < 250
