"""The import rule of docs/explanation/architecture.md: `stores` imports neither `sync` nor
`gateway`; these two never import each other; nobody imports `recordgate`; a room of the gateway
imports only lower rooms. And the parts of docs/style.md that can be checked: no file above 600
lines, no line above 100 columns, each file says what it is about, no docstring continues the name
of what it describes, a wide constructor takes keywords."""

from __future__ import annotations

import ast
from collections.abc import Iterator
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
ROOMS = (
    ("shape",),
    ("http", "compiler"),
    ("context",),
    ("query", "endpoints", "security"),
    ("search", "write"),
    ("export", "schema", "browse"),
    ("graphql", "changes"),
)
"""The gateway's rooms by floor, the lowest first. A room imports rooms of lower floors, and `app.py`, which stands
above them all, is imported by none."""
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
FLAT = {"__init__", "app"}
"""The gateway's files that lie in no room."""
FILES = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


CONTINUES = frozenset(
    ("What", "Whether", "That", "Where", "How", "Which", "Who", "Whose", "When", "Why", "For", "If",
     "Of", "By", "As", "From", "On", "With", "Until", "In")
)  # fmt: skip
"""First words of docstrings that continue the name of what they describe, or are fragments."""

COLUMNS = 100
POSITIONAL = 5
"""The most parameters of a constructor that may be given by position."""


def breaches_of_style(path: Path) -> Iterator[str]:
    """Yield the long lines of a file, its docstrings, those of attributes too, with a first word of
    CONTINUES, and its constructors that take too much by position. The SQL of a migration stays as
    it was applied, whatever its width."""
    text = path.read_text("utf-8")
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            continue
        words = str(node.value.value).split()
        if words and words[0] in CONTINUES:
            yield f'{path.name}:{node.lineno}: a docstring begins with "{words[0]}"'
    for node in ast.walk(ast.parse(text)):
        constructor = isinstance(node, ast.FunctionDef) and node.name == "__init__"
        if constructor and len(node.args.args) - 1 > POSITIONAL:
            yield f"{path.name}:{node.lineno}: a wide constructor takes keywords"
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > COLUMNS and path.parent.name != "versions":
            yield f"{path.name}:{number}: {len(line)} columns"


def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports, those of `from x import y` as `x.y`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def broken_rooms(gateway: Path) -> Iterator[str]:
    """Yield each breach of the rule of rooms below the folder `gateway`. Files that lie in no room are breaches
    once all rooms are there."""
    complete = all((gateway / room).is_dir() for room in FLOOR)
    for folder in sorted(p for p in gateway.iterdir() if (p / "__init__.py").is_file()):
        if folder.name not in FLOOR:
            yield f"{folder.name}/ has no floor in ROOMS"
    for path in sorted(gateway.rglob("*.py")):
        place = path.relative_to(gateway)
        room = place.parts[0] if len(place.parts) > 1 else None
        if room is None and complete and path.stem not in FLAT:
            yield f"{place} lies in no room"
        if room not in FLOOR:
            continue
        for name in sorted(imported(path)):
            package, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if package != "gateway" or target == room:
                continue
            if target == "app" or (target in FLOOR and FLOOR[target] >= FLOOR[room]):
                yield f"{place} must not import gateway.{target}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_import_rule(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    packages = {name.partition(".")[0] for name in imported(path)}
    broken = packages & (FORBIDDEN[package] | {"migrations"})
    assert not broken, f"{path.relative_to(ROOT)} must not import {', '.join(sorted(broken))}"


def test_monitoring_imports_stores_and_never_the_command() -> None:
    """recordgate/monitoring is wired by the command, and knows nothing of it."""
    for path in sorted((ROOT / "recordgate" / "monitoring").rglob("*.py")):
        for name in imported(path):
            own = name.startswith("recordgate") and not name.startswith("recordgate.monitoring")
            assert not own, f"{path.name} must not import {name}"
            assert name.partition(".")[0] not in ("sync", "gateway"), f"{path.name}: {name}"


def test_collecting_imports_the_stores_and_never_the_command() -> None:
    for path in sorted((ROOT / "recordgate" / "collecting").glob("*.py")):
        ours = {n for n in imported(path) if n.partition(".")[0] in PACKAGES}
        broken = {n for n in ours if not n.startswith(("stores.", "recordgate.collecting"))}
        assert not broken, f"{path.name} must not import {', '.join(sorted(broken))}"


def test_a_room_of_the_gateway_imports_only_lower_rooms() -> None:
    assert list(broken_rooms(ROOT / "gateway")) == []


def test_a_breach_of_the_rule_of_rooms_is_found(tmp_path: Path) -> None:
    files = {
        "app.py": "from gateway.graphql import protocol",
        "http/guard.py": "import gateway.compiler.masks",
        "shape/filters.py": "from stores.query import Filter",
        "compiler/selects.py": "from gateway.shape.filters import x\nfrom gateway import compiler",
        "context/services.py": "def late():\n    from gateway.query.plans import QueryPlan",
        "query/plans.py": "from gateway.security import access",
        "write/rows.py": "from gateway.app import make_app",
        "schema/records.py": "from gateway.search.search import fields\nimport gateway.write.rows",
        "graphql/protocol.py": "from gateway import schema, query",
        "attic/old.py": "import gateway.graphql.protocol",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text + "\n")
    (tmp_path / "pages").mkdir()
    (tmp_path / "loose.py").write_text("import gateway.graphql.protocol\n")
    breaches = [
        "attic/ has no floor in ROOMS",
        "context/services.py must not import gateway.query",
        "http/guard.py must not import gateway.compiler",
        "query/plans.py must not import gateway.security",
        "write/rows.py must not import gateway.app",
    ]
    assert list(broken_rooms(tmp_path)) == breaches
    for room in FLOOR:
        (tmp_path / room).mkdir(exist_ok=True)
    assert "loose.py lies in no room" in list(broken_rooms(tmp_path))


def test_the_architecture_page_names_every_folder_and_room() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    for name in (*PACKAGES, *FLOOR):
        assert f"| `{name}/` |" in page, f"{name}/ is missing in docs/explanation/architecture.md"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_about_one_thing_and_says_which(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 600
    if text.strip() and path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(text)), f"{path.name} has no docstring at its top"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_lines_docstrings_and_constructors_keep_to_the_style(path: Path) -> None:
    assert list(breaches_of_style(path)) == [], "docs/style.md says how text is written"


def test_a_breach_of_the_style_is_found(tmp_path: Path) -> None:
    path = tmp_path / "door.py"
    path.write_text(
        '"""From outside to inside."""\n'
        "class Door:\n"
        '    """What opens."""\n'
        "    wide: bool = False\n"
        '    """Whether two can pass."""\n'
        "    def opens(self) -> bool:\n"
        '        """Return whether it opens. What it opens to is not said."""\n'
        "    def __init__(self, a, b, c, d, e, *, f): ...\n"
        "class Gate:\n"
        "    def __init__(self, a, b, c, d, e, f): ...\n"
        f"{'x' * 101} = 1\n"
    )
    assert list(breaches_of_style(path)) == [
        'door.py:1: a docstring begins with "From"',
        'door.py:3: a docstring begins with "What"',
        'door.py:5: a docstring begins with "Whether"',
        "door.py:10: a wide constructor takes keywords",
        "door.py:11: 105 columns",
    ]
