"""A type that is collected from a hostile source into a database of its own, walk by walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from recordgate.collecting import books
from recordgate.collecting.addresses import Allowed
from recordgate.collecting.collector import collect_once
from recordgate.collecting.walk import Outcome, Surroundings
from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.importing.run import ImportSession
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.errors import RecordgateError, SourceError

PROPERTIES: list[dict[str, Any]] = [
    {"name": "id", "logicalType": "integer", "primaryKey": True, "primaryKeyPosition": 1, "required": True},
    {"name": "name", "logicalType": "string"},
    {"name": "height", "logicalType": "number"},
    {"name": "opened", "logicalType": "date"},
    {"name": "updatedAt", "physicalName": "updated_at", "logicalType": "timestamp"},
]  # fmt: skip


def contract_of(
    collect: dict[str, Any], properties: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {
        "apiVersion": "v3.2.0",
        "kind": "DataContract",
        "id": "collected",
        "name": "What is collected",
        "version": "1.0.0",
        "status": "active",
        "schema": [
            {
                "name": "station",
                "physicalName": "stations",
                "properties": properties or PROPERTIES,
                "customProperties": [
                    {"property": "collect", "vendor": "recordgate", "value": collect}
                ],
            }
        ],
    }


class CollectWorld:
    """`collect` is what the contract says of the type `station`; `walk` is one lease of it."""

    def __init__(self, url: str, folder: Path, collect: dict[str, Any]) -> None:
        self.url, self.folder = url, folder
        self.at = Surroundings(
            url, self.say(collect), folder / "data", Allowed.parse(["127.0.0.1"]), land_rows=25
        )
        with connect(url) as connection:
            migrate(connection)
            apply_plan(connection, self.at.contract, make_plan(connection, self.at.contract))
            books.register(connection, self.at.contract)

    def say(self, collect: dict[str, Any]) -> Contract:
        """The contract with this `collect`, in the folder's file."""
        path = self.folder / "collected.odcs.yaml"
        path.write_text(yaml.safe_dump(contract_of(collect), sort_keys=False))
        return load_contract(path)

    def walk(self) -> Outcome:
        with connect(self.url) as connection, ImportSession(self.url, self.at.contract) as session:
            books.register(connection, self.at.contract)
            lease = books.take(connection, ["station"], "test", at_once=True)
            assert lease is not None
            return collect_once(self.at, connection, session, lease)

    def rows(self, query: str, given: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query.encode(), given).fetchall()

    def do(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    @property
    def state(self) -> tuple[Any, ...]:
        """(state, code, failures) of the source."""
        return self.rows("SELECT state, code, failures FROM recordgate.sources")[0]

    def ids(self) -> list[int]:
        return [i for (i,) in self.rows("SELECT id FROM stations ORDER BY id")]

    def merged_pages(self) -> int:
        """Pages of all landings that are merged."""
        return int(
            self.rows(
                "SELECT coalesce(sum(pages), 0) FROM recordgate.landings WHERE merged_at IS NOT"
                " NULL"
            )[0][0]
        )

    def settings(self, **more: str) -> Path:
        path = self.folder / "recordgate.toml"
        lines = {"contract": "collected.odcs.yaml", "postgres": self.url, "data_dir": "data",
                 "collect_allow": "127.0.0.1", **more}  # fmt: skip
        path.write_text("".join(f'{k} = "{v}"\n' for k, v in lines.items()))
        return path


def stations(count: int, start: int = 1) -> list[dict[str, Any]]:
    return [
        {"id": i, "name": f"station {i}", "height": i / 2, "opened": "2020-01-01",
         "updatedAt": f"2024-01-01T00:{i // 60 % 60:02d}:{i % 60:02d}Z"}
        for i in range(start, start + count)
    ]  # fmt: skip


Start = Callable[..., CollectWorld]
"""Makes a world whose source has these settings."""


def problem(world: CollectWorld) -> SourceError:
    with pytest.raises(RecordgateError) as raised:
        world.walk()
    assert isinstance(raised.value, SourceError)
    return raised.value
