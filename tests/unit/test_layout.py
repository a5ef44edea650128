"""The import rule of DESIGN.md: `stores` imports neither `sync` nor `gateway`; these two never import
each other; nobody imports `recordgate`. And: no file above 600 lines, each says what it is about."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("recordgate", "stores", "sync", "gateway", "migrations")
"""The folder `migrations` is imported as `recordgate.migrations`: a link in a checkout, a package in the wheel."""
FORBIDDEN = {
    "stores": {"sync", "gateway", "recordgate"},
    "sync": {"gateway", "recordgate"},
    "gateway": {"sync", "recordgate"},
    "migrations": {"sync", "gateway", "recordgate"},
    "recordgate": set(),
}
FILES = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_import_rule(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    broken = imported(path) & (FORBIDDEN[package] | {"migrations"})
    assert not broken, f"{path.relative_to(ROOT)} must not import {', '.join(sorted(broken))}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_about_one_thing_and_says_which(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 600
    if text.strip() and path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(text)), f"{path.name} has no docstring at its top"
