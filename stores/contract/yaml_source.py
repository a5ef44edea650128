"""YAML text → plain data in which every node knows its line and column, and scalars their spelling.

YAML 1.2 core schema: `no`, `on` and dates stay text; a number under a key of `TEXT_KEYS` does too,
so that `version: 1.10` stays "1.10". Duplicate keys, tags, merge keys and expanding aliases are
refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeAlias

import yaml

MAX_BYTES = 5_000_000
MAX_DEPTH = 60
MAX_NODES = 300_000
"""Nodes after the expansion of aliases; a contract of 5 MB written out has fewer."""

Path: TypeAlias = tuple[str | int, ...]

TEXT_KEYS = frozenset(
    (
        "version", "apiVersion", "id", "name", "tenant", "status", "domain", "dataProduct",
        "description", "purpose", "usage", "limitations", "physicalName", "physicalType",
        "businessName", "property", "unit", "element", "role", "vendor", "username", "dateIn",
        "dateOut", "contractCreatedTs", "format", "pattern", "label", "classification",
    )
)  # fmt: skip

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"
    r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_TAGS = {f"tag:yaml.org,2002:{t}": t for t in ("str", "int", "float", "bool", "null", "map", "seq")}


@dataclass(frozen=True, slots=True)
class TextPosition:
    """A position in a file; both count from 1."""

    line: int = 1
    column: int = 1


class SourceError(Exception):
    """The text could not be read as YAML: `code` of the linter, place, message, hint."""

    def __init__(self, code: str, place: TextPosition, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.place, self.message, self.hint = code, place, message, hint


@dataclass(slots=True)
class YamlSource:
    """A file's data with the places of its nodes. `problems` are what did not stop the reading."""

    file: str
    data: Any = None
    values: dict[Path, TextPosition] = field(default_factory=dict)
    keys: dict[Path, TextPosition] = field(default_factory=dict)
    spellings: dict[Path, str] = field(default_factory=dict)
    problems: list[SourceError] = field(default_factory=list)

    def value_place(self, path: Path) -> TextPosition:
        """Return the place of the value at `path`, or of the nearest enclosing value."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, TextPosition())

    def key_place(self, path: Path) -> TextPosition:
        """Return the place of the key of the value at `path`; for an element of a list, where it
        begins."""
        return self.keys.get(path) or self.value_place(path)


@dataclass(slots=True)
class _Node:
    """A composed node: `kind` is scalar, map or seq; `size` counts the nodes in it, aliases
    expanded."""

    kind: str
    place: TextPosition
    text: str = ""
    plain: bool = False
    tag: str = ""
    entries: list[tuple[_Node, _Node]] = field(default_factory=list)
    items: list[_Node] = field(default_factory=list)
    size: int = 1


def read_text(path: FilePath) -> str:
    """The file's text, or SourceError."""
    here = TextPosition()
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceError(
            "FILE_UNREADABLE", here, f"cannot be read: {error.strerror or error}"
        ) from None
    if len(raw) > MAX_BYTES:
        raise SourceError("FILE_TOO_LARGE", here, f"larger than {MAX_BYTES:,} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        place = TextPosition(before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1)
        raise SourceError("NOT_UTF8", place, "not UTF-8 text", "save the file as UTF-8") from None


def parse(text: str, file: str) -> YamlSource:
    """Read one YAML document. Raises SourceError where it cannot be read at all."""
    if len(text) > MAX_BYTES:
        raise SourceError("FILE_TOO_LARGE", TextPosition(), f"larger than {MAX_BYTES:,} bytes")
    bad = _CONTROL.search(text)
    if bad:
        before = text[: bad.start()]
        place = TextPosition(before.count("\n") + 1, bad.start() - before.rfind("\n"))
        raise SourceError("BAD_CHARACTER", place, f"the character U+{ord(bad.group()):04X}")
    source = YamlSource(file)
    try:
        root = _compose(text, source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = TextPosition(mark.line + 1, mark.column + 1) if mark else TextPosition()
        raise SourceError("YAML_SYNTAX", place, error.problem or "not YAML") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise SourceError(
            "YAML_SYNTAX", TextPosition(), f"not YAML: {type(error).__name__}"
        ) from None
    if root is not None:
        source.data = _build(root, (), source)
    return source


def _compose(text: str, source: YamlSource) -> _Node | None:
    """Return the tree of the single document in `text`. The walk is iterative and limited, so that
    no input exhausts memory or stack."""
    loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    root: _Node | None = None
    stack: list[tuple[_Node, list[_Node], str | None]] = []
    anchors: dict[str, _Node] = {}
    documents = 0
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=loader)
    for event in events:
        mark = event.start_mark
        place = TextPosition(mark.line + 1, mark.column + 1) if mark else TextPosition()
        done: _Node
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise SourceError(
                    "YAML_UNSUPPORTED", place, "a second document", "write one contract per file"
                )
            continue
        if isinstance(event, yaml.ScalarEvent):
            done = _Node(
                "scalar",
                place,
                text=event.value,
                plain=event.style in (None, ""),
                tag=_tag(event, place),
            )
            if event.anchor:
                anchors[event.anchor] = done
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise SourceError(
                    "YAML_SYNTAX", place, f"the alias *{event.anchor} has no anchor before it"
                )
            done = anchors[event.anchor]
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
            if len(stack) >= MAX_DEPTH:
                raise SourceError("YAML_TOO_BIG", place, f"nested deeper than {MAX_DEPTH}")
            stack.append((_Node(kind, place, tag=_tag(event, place)), [], event.anchor))
            continue
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            done, children, anchor = stack.pop()
            done.size = 1 + sum(child.size for child in children)
            if done.size > MAX_NODES:
                raise SourceError(
                    "YAML_TOO_BIG", done.place, f"more than {MAX_NODES:,} nodes, aliases expanded"
                )
            if done.kind == "map":
                done.entries = list(zip(children[::2], children[1::2], strict=True))
            else:
                done.items = children
            if anchor:
                anchors[anchor] = done
        else:
            continue
        if stack:
            stack[-1][1].append(done)
        else:
            root = done
    return root


def _tag(event: Any, place: TextPosition) -> str:
    tag = event.tag
    if tag is None or tag == "!":
        return "str" if tag == "!" else ""
    if tag not in _TAGS:
        raise SourceError("YAML_UNSUPPORTED", place, f"the tag {tag!r}", "leave the tag out")
    return _TAGS[tag]


def _build(node: _Node, path: Path, source: YamlSource) -> Any:
    """Plain data of `node`; notes places and spellings under `path`."""
    source.values[path] = node.place
    if node.kind == "seq":
        return [_build(item, (*path, i), source) for i, item in enumerate(node.items)]
    if node.kind == "map":
        result: dict[str, Any] = {}
        for key, value in node.entries:
            if key.kind != "scalar":
                source.problems.append(
                    SourceError("YAML_UNSUPPORTED", key.place, "a key that is not text")
                )
                continue
            name = key.text
            if name == "<<" and key.plain:
                source.problems.append(
                    SourceError(
                        "YAML_UNSUPPORTED", key.place, "a merge key", "write the keys in full"
                    )
                )
                continue
            below = (*path, name)
            if name in result:
                first = source.keys[below]
                source.problems.append(
                    SourceError(
                        "YAML_DUPLICATE_KEY",
                        key.place,
                        f"the key {name!r} already occurs at line {first.line}",
                        "keep one of them",
                    )
                )
                continue
            source.keys[below] = key.place
            result[name] = _build(value, below, source)
        return result
    source.spellings[path] = node.text
    keep = bool(path) and path[-1] in TEXT_KEYS
    return _scalar(node, keep)


def _scalar(node: _Node, keep_numbers: bool) -> Any:
    text = node.text
    if node.tag == "str" or not (node.plain or node.tag):
        return text
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if keep_numbers or len(text) > 400:
        return text
    if _INT.match(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.match(text):
        return (
            float(text.replace(".inf", "inf").replace(".Inf", "inf").replace(".INF", "inf"))
            if ("n" not in text.lower() or "inf" in text.lower())
            else float("nan")
        )
    return text
