"""A contract with each rule an import checks, its tables in a database, and a short way to
import."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.importing import ImportOptions, ImportReport, run_import
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from stores.contract.model import Contract
from tests.conftest import drop_database, url_of

CONTRACT = r"""
apiVersion: v3.2.0
kind: DataContract
id: imports
name: What imports are tried on
version: 1.0.0
status: active
schema:
  - name: maker
    physicalName: makers
    properties:
      - {name: code, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true, logicalTypeOptions: {pattern: "^[A-Z]{2,4}$"}}
      - {name: name, logicalType: string, required: true}
  - name: item
    physicalName: items
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: name, logicalType: string, required: true, logicalTypeOptions: {minLength: 2, maxLength: 20}}
      - {name: code, logicalType: string, unique: true, logicalTypeOptions: {pattern: "^[a-z]+-[0-9]+$"}}
      - {name: color, logicalType: string, enum: [{value: red}, {value: green}]}
      - name: makerCode
        physicalName: maker_code
        logicalType: string
        relationships:
          - {id: maker, to: maker.code, customProperties: [{property: inverse, vendor: recordgate, value: items}]}
      - name: parentId
        physicalName: parent_id
        logicalType: integer
        relationships:
          - {id: parent, to: item.id, customProperties: [{property: inverse, vendor: recordgate, value: parts}]}
      - {name: weight, logicalType: number, logicalTypeOptions: {minimum: 0, exclusiveMaximum: 100}}
      - {name: stock, logicalType: integer, physicalType: smallint, logicalTypeOptions: {multipleOf: 5}}
      - {name: price, logicalType: number, physicalType: "numeric(10,2)"}
      - {name: born, logicalType: date, logicalTypeOptions: {minimum: "1900-01-01"}}
      - {name: seenAt, physicalName: seen_at, logicalType: timestamp}
      - {name: active, logicalType: boolean}
      - {name: tags, logicalType: array, items: {name: tag, logicalType: string}}
      - {name: extra, logicalType: object}
      - {name: picture, logicalType: string, physicalType: bytea}
  - name: visit
    physicalName: visits
    properties:
      - name: itemId
        physicalName: item_id
        logicalType: integer
        primaryKey: true
        primaryKeyPosition: 1
        required: true
        relationships:
          - {id: item, to: item.id, customProperties: [{property: inverse, vendor: recordgate, value: visits}]}
      - {name: day, logicalType: date, primaryKey: true, primaryKeyPosition: 2, required: true}
"""


@contextmanager
def new_target(server: str, folder: Path) -> Iterator[Target]:
    """A target in a database of its own, dropped at the end."""
    name = f"import_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    try:
        yield Target(url_of(server, name), folder)
    finally:
        drop_database(server, name)


class Target:
    """A database with the contract's tables; `folder` holds the files of a test."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        (folder / "imports.odcs.yaml").write_text(CONTRACT)
        self.contract: Contract = load_contract(folder / "imports.odcs.yaml")
        with connect(url) as connection:
            migrate(connection)
            apply_plan(connection, self.contract, make_plan(connection, self.contract))

    def clean(self) -> None:
        """Empty every table, so that a test may use the database of the one before it."""
        self.do(
            "TRUNCATE makers, items, visits, recordgate.dead_letters, recordgate.import_batches,"
            " recordgate.backlog CASCADE"
        )

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(
        self, type_name: str, content: str | bytes | Path, /, name: str = "file.csv", **options: Any
    ) -> ImportReport:
        """Import a content, or a file, with ImportOptions(**options)."""
        path = content if isinstance(content, Path) else self.file(name, content)
        progress = options.pop("progress", None)
        more = {"progress": progress} if progress else {}
        return run_import(
            self.url, self.contract, type_name, [path], ImportOptions(**options), **more
        )

    def rows(self, query: str, parameters: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def do(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def staging_tables(self) -> list[str]:
        return [
            name
            for (name,) in self.rows(
                "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                " WHERE nspname = 'recordgate' AND relname ~ '^import_[0-9a-f]{16}' AND relkind = 'r'"
            )
        ]

    def reasons(self) -> dict[int, set[tuple[str, str]]]:
        """line → {(column, code)} of all dead letters."""
        found: dict[int, set[tuple[str, str]]] = {}
        for line, reasons in self.rows(
            "SELECT line, reasons FROM recordgate.dead_letters WHERE kind = 'import'"
        ):
            found[line] = {(r["column"], r["code"]) for r in reasons}
        return found

    def settings(self) -> Path:
        """A settings file for the command."""
        return self.file(
            "recordgate.toml",
            f'contract = "imports.odcs.yaml"\npostgres = "{self.url}"\n',
        )
