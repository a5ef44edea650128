"""What a text tells somebody to run is a command that there is, with options and values that it
takes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from recordgate.cli.app import build
from recordgate.sync_access import SINKS

ROOT = Path(__file__).parents[2]
_TOLD = re.compile(r"`recordgate ([^`]+)`")
_LOOSE = re.compile(r"(?<!`)recordgate ((?:reload|rollback|verify|apply|deadletters)\b[^`;,.)]*)")


def texts() -> Iterator[tuple[str, str]]:
    """(place, text) of every string of the programs; what is formatted in stands as VALUE."""
    for folder in ("stores", "sync", "gateway", "recordgate"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text("utf-8"))
            inside = {
                id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values
            }
            documentation = {
                id(n.value) for n in ast.walk(tree)
                if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)
            }  # fmt: skip
            unsaid = inside | documentation
            for node in ast.walk(tree):
                text = ""
                if isinstance(node, ast.JoinedStr):
                    text = "".join(
                        str(v.value) if isinstance(v, ast.Constant) else "VALUE"
                        for v in node.values
                    )
                elif isinstance(node, ast.Constant) and id(node) not in unsaid:
                    text = str(node.value)
                if "recordgate " in text:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", text  # type: ignore[attr-defined]


TEXTS = list(texts())
TOLD = sorted(
    {
        (place, told.strip())
        for place, text in TEXTS
        for told in _TOLD.findall(text)
        if not told.startswith("VALUE")
    }
)
COMMAND = typer.main.get_command(build())


def test_there_are_hints() -> None:
    assert len(TOLD) > 30


@pytest.mark.parametrize(("place", "told"), TOLD, ids=[f"{p} {t}" for p, t in TOLD])
def test_a_hint_names_a_command_that_can_be_run(place: str, told: str) -> None:
    command: Any = COMMAND
    words = told.split()
    while words and hasattr(command, "commands"):
        name = words.pop(0)
        assert name in command.commands, f"{place}: there is no command {name}"
        command = command.commands[name]
    options = {o: p for p in command.params if p.param_type_name == "option" for o in p.opts}
    given = 0
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            given += 1
            continue
        assert word in options, f"{place}: {told} has no option {word}"
        if not options[word].is_flag:
            value = words.pop(0) if words else ""
            assert value, f"{place}: {word} takes a value"
            if word == "--sink":
                assert value in (*SINKS, "VALUE", "NAME"), f"{place}: there is no sink {value}"
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    assert given <= len(arguments), f"{place}: {told}"
    if given or words:
        assert given >= sum(1 for p in arguments if p.required), f"{place}: {told}"


def test_no_hint_names_a_store_as_a_sink_or_a_reload_of_nothing() -> None:
    for place, text in TEXTS:
        for told in _LOOSE.findall(text):
            sink = re.search(r"--sink (\S+)", told)
            if sink:
                assert sink[1] in (*SINKS, "VALUE"), f"{place}: {told}"
            assert told.strip() not in ("reload", "rollback"), f"{place}: {told} names no type"
