"""A cursor over a contract's data that forgives wrong shapes, so that checks go on after a mistake.

The JSON schema has said already what is of a wrong type; here such a thing reads as missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stores.contract.findings import Findings
from stores.contract.yaml_source import Path, TextPosition, YamlSource


@dataclass(frozen=True, slots=True)
class Node:
    """The value at `path` of `source`; `findings` is where `report` puts what is wrong with it."""

    source: YamlSource
    path: Path
    data: Any
    findings: Findings

    def get(self, key: str) -> Node:
        """The value under `key`; its data is None where there is none."""
        data = self.data.get(key) if isinstance(self.data, dict) else None
        return Node(self.source, (*self.path, key), data, self.findings)

    def has(self, key: str) -> bool:
        return isinstance(self.data, dict) and self.data.get(key) is not None

    def items(self, key: str) -> list[Node]:
        """The elements of the list under `key`."""
        return list(self.get(key))

    def entries(self) -> list[tuple[str, Node]]:
        """Keys and values of a mapping."""
        return [(k, self.get(k)) for k in self.data] if isinstance(self.data, dict) else []

    def __iter__(self) -> Iterator[Node]:
        if isinstance(self.data, list):
            for i, item in enumerate(self.data):
                yield Node(self.source, (*self.path, i), item, self.findings)

    def text(self, key: str) -> str:
        """The text under `key`, empty where there is none."""
        value = self.get(key).data
        return value if isinstance(value, str) else ""

    def flag(self, key: str) -> bool:
        return self.get(key).data is True

    @property
    def spelling(self) -> str:
        """A scalar as it is written in the file."""
        return self.source.spellings.get(self.path, "" if self.data is None else str(self.data))

    @property
    def place(self) -> TextPosition:
        return self.source.value_place(self.path)

    @property
    def key_place(self) -> TextPosition:
        return self.source.key_place(self.path)

    def report(
        self,
        code: str,
        message: str,
        hint: str = "",
        *,
        at_key: bool = False,
        severity: str = "error",
    ) -> None:
        """A finding at this value, or at its key."""
        place = self.key_place if at_key else self.place
        self.findings.add(self.source, place, code, message, hint, severity)
