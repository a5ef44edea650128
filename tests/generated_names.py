"""Every name that code of ours puts into a statement, a document's frame or generated Python, read
from the code itself, so that a name which is added tomorrow is among them."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPILERS = ("stores", "sync", "gateway")
FRAMES = (
    "stores/documents/sqlite_tables",
    "stores/documents/mongodb_documents",
    "stores/documents/mongodb_indexes",
    "stores/search/elasticsearch_fields",
    "stores/search/tantivy_fields",
    "sync/sources/pgoutput/decoder",
    "sync/sources/debezium/envelope",
)
"""Where names also stand as keys of documents, as constants, or in generated Python."""

_CALLS = frozenset(("SQL", "Identifier", "Placeholder", "column", "_column", "quoted", "_equal"))
_WORD = re.compile(r"(?<![%\w$'])[A-Za-z_][A-Za-z0-9_]*")
_LITERAL = re.compile(r"E?'[^']*'")
_ONE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STATEMENT = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|WITH)\b")


@cache
def generated_names() -> tuple[str, ...]:
    """In lower case, sorted. Keywords and functions of SQL are among them: they are names that
    users may choose, too. A number in a name is 0."""
    found: set[str] = {k.lower() for k in keyword.kwlist}
    for folder in COMPILERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text("utf-8"))
            found |= _in_calls(tree)
            if str(file.relative_to(ROOT)).startswith(FRAMES):
                found |= _in_frames(tree)
            if "sqlite" in file.name:
                found |= _in_statements(tree)
    return tuple(sorted(found))


def short_names() -> list[str]:
    """Those that are aliases of tables and columns by their look."""
    return [n for n in generated_names() if re.fullmatch(r"[a-z]{1,2}[0-9]?", n)]


def _texts(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr):
            values = part.values
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "0" for v in values)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str | bytes):
            value = part.value
            yield value if isinstance(value, str) else value.decode("utf-8", "replace")


def _words(text: str) -> set[str]:
    return {w.lower() for w in _WORD.findall(_LITERAL.sub("", text))}


def _in_calls(tree: ast.AST) -> set[str]:
    """Names in pieces of SQL that are put together with names of a contract."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        if name in _CALLS:
            for argument in node.args:
                for text in _texts(argument):
                    found |= _words(text)
    return found


def _in_statements(tree: ast.AST) -> set[str]:
    """Names in whole statements."""
    texts = (text for node in ast.walk(tree) for text in _texts(node))
    return set().union(*(_words(text) for text in texts if _STATEMENT.search(text)))


def _in_frames(tree: ast.AST) -> set[str]:
    """Keys of dictionaries, constants that are a name, names in lines of generated Python."""
    found: set[str] = set()
    for node in ast.walk(tree):
        values: list[ast.AST] = []
        if isinstance(node, ast.Dict):
            values = [k for k in node.keys if k is not None]
        elif isinstance(node, ast.Assign):
            values = [*node.value.elts] if isinstance(node.value, ast.Tuple) else [node.value]
        elif isinstance(node, ast.List):
            values = [*node.elts]
        for value in values:
            if isinstance(value, ast.Constant | ast.JoinedStr):
                for text in _texts(value):
                    lines_of_python = isinstance(node, ast.List) and text.startswith((" ", "def "))
                    if _ONE_NAME.fullmatch(text) or lines_of_python:
                        found |= _words(text)
    return found
