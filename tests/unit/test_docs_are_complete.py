"""The reference pages name everything there is: a setting, command, option or metric that is missing in
them fails here. Error codes have their own test beside docs/reference/errors.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from recordgate.cli.app import app
from recordgate.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


def reference(name: str) -> str:
    return (DOCS / "reference" / name).read_text("utf-8")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_reference_with_its_description(name: str) -> None:
    row = re.search(rf"^\| `{name}` \|.*$", reference("settings.md"), re.MULTILINE)
    assert row, f"{name} is missing in docs/reference/settings.md"
    assert (Settings.model_fields[name].description or "") in row[0]


def commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []

    def walk(path: str, command: Any) -> None:
        if hasattr(command, "commands"):
            for name, child in command.commands.items():
                walk(f"{path} {name}".strip(), child)
        else:
            found.append((path, command))

    walk("", typer.main.get_command(app))
    return found


@pytest.mark.parametrize(
    ("path", "command"), commands(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_command_and_option_is_in_the_reference(path: str, command: click.Command) -> None:
    text = reference("commands.md")
    section = re.search(rf"^## `{path}`$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"`{path}` has no section in docs/reference/commands.md"
    for parameter in command.params:
        names = parameter.opts if parameter.param_type_name == "option" else []
        longest = max(names, key=len, default="")
        if longest and longest != "--help":
            assert f"`{longest}" in section[1], f"{longest} of `{path}` is missing"


LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize(
    "page",
    [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))],
    ids=lambda p: str(p.relative_to(DOCS.parent)),
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
