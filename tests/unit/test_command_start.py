"""A command starts without the libraries of other commands: importing them takes longer than most
commands run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from recordgate.cli.app import COMMANDS

HEAVY = {
    "alembic",
    "strawberry",
    "pyarrow",
    "tantivy",
    "elasticsearch",
    "pymongo",
    "kafka",
    "mkdocs",
}
PLANS = {"schema", "doctor", "demo", "migrate"}
"""Modules whose commands compare canonical with the contract, which takes Alembic."""
IMPORTS = {"collecting"}
"""Modules all of whose commands may import records, which takes Arrow."""


@pytest.mark.parametrize("plans", [False, True])
def test_a_command_imports_no_library_that_it_does_not_need(plans: bool) -> None:
    names = sorted(name for name in set(COMMANDS.values()) - IMPORTS if (name in PLANS) == plans)
    program = (
        "import importlib, json, sys\n"
        f"for name in {names}: importlib.import_module('recordgate.cli.' + name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    heavy = HEAVY - {"alembic"} if plans else HEAVY
    assert not heavy & set(json.loads(done.stdout))
