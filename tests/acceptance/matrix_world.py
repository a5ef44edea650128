"""The world of the matrix: rows whose every value is planted, and an oracle, apart from the
gateway's own code, of what each set of roles may see of them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from psycopg import sql

CONTRACT = Path(__file__).parent / "matrix.odcs.yaml"
PATIENTS, VISITS = 8, 16


def _letters(seed: str, size: int = 12) -> str:
    """Letters that stand nowhere else: no part of six is common to two of them by chance."""
    digest = hashlib.sha256(seed.encode()).digest()
    return "".join("bcdfghjkmnpqrstvwxz"[b % 19] for b in digest)[:size]


def planted(type_name: str, row: int, name: str, kind: str) -> Any:
    """The value of a property in a row."""
    seed = f"{type_name} {row} {name}"
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    if kind == "integer":
        return 100_000_000 + number % 800_000_000
    if kind == "date":
        return f"{1900 + number % 90}-{1 + number % 11:02}-{10 + number % 18}"
    if kind == "array":
        return [_letters(f"{seed} 1"), _letters(f"{seed} 2")]
    if kind == "object":
        return {_letters(f"{seed} key"): _letters(f"{seed} value")}
    return _letters(seed)


Row = dict[str, Any]


def _schema() -> dict[str, dict[str, Any]]:
    return {t["name"]: t for t in yaml.safe_load(CONTRACT.read_text("utf-8"))["schema"]}


SCHEMA = _schema()


@lru_cache
def rows() -> dict[str, list[Row]]:
    """By type: the wards open, shut, open; the patients listed or not; each field another value."""
    made: dict[str, list[Row]] = {}
    for type_name, count in (("ward", 3), ("patient", PATIENTS), ("visit", VISITS)):
        made[type_name] = [
            {
                p["name"]: planted(type_name, i, p["name"], p["logicalType"])
                for p in SCHEMA[type_name]["properties"]
            }
            for i in range(count)
        ]
    for i, ward in enumerate(made["ward"]):
        ward["open"] = i != 1
    for i, patient in enumerate(made["patient"]):
        patient["listed"] = i % 4 != 3
        patient["wardCode"] = made["ward"][i % 3]["code"]
        patient["sponsorId"] = made["patient"][i - 1]["id"] if i else None
    for i, visit in enumerate(made["visit"]):
        visit["patientId"] = made["patient"][i % PATIENTS]["id"]
    return made


def statements() -> str:
    """The INSERTs of all rows."""
    text: list[str] = []
    for type_name, several in rows().items():
        schema = SCHEMA[type_name]
        for row in several:
            columns, values = [], []
            for prop in schema["properties"]:
                columns.append(prop.get("physicalName", prop["name"]))
                value = row[prop["name"]]
                if isinstance(value, dict):
                    (pair,) = value.items()
                    values.append(f"jsonb_build_object({_quoted(pair[0])}, {_quoted(pair[1])})")
                elif isinstance(value, list):
                    values.append(f"ARRAY[{', '.join(map(_quoted, value))}]")
                else:
                    values.append(_quoted(value))
            text.append(
                f"INSERT INTO {schema['physicalName']} ({', '.join(columns)}) VALUES ({', '.join(values)});"
            )
    return "\n".join(text)


def _quoted(value: Any) -> str:
    return sql.Literal(value).as_string(None)


# The oracle ------------------------------------------------------------------------------------

WARDS = {"clerk": lambda w: w["open"], "guest": lambda w: w["open"]}
PATIENT_ROWS = {
    "clerk": lambda p, ward: ward["open"],
    "guest": lambda p, ward: p["listed"] and ward["open"],
    "outsider": lambda p, ward: p["listed"],
}
VISITS_FOR = {"admin", "clerk", "auditor"}
RANK = ["plain", "partial", "hash", "hidden"]


def form(prop: dict[str, Any], roles: frozenset[str]) -> str:
    """plain, partial, hash or hidden: the best that one of the roles gives, read from the
    contract's text."""
    said = {c["property"]: c["value"] for c in prop.get("customProperties", ())}
    masking, readers = said.get("masking"), said.get("readRoles")
    if masking is None and readers is None:
        return "plain"
    best = "hidden"
    for role in roles:
        one = "plain"
        if masking is not None and role in masking:
            mask = masking[role]
            one = {"hash": "hash", "partial": "partial"}.get(
                next(iter(mask)) if isinstance(mask, dict) else mask or "null", "hidden"
            )
        elif readers is not None and role not in readers:
            one = "hidden"
        best = min(best, one, key=RANK.index)
    return best


@dataclass(frozen=True)
class Sight:
    """What `roles` may see."""

    roles: frozenset[str]

    def rows(self, type_name: str) -> list[Row]:
        made = rows()
        wards = {w["code"]: w for w in made["ward"]}
        if type_name == "visit":
            return made["visit"] if self.roles & VISITS_FOR else []
        if type_name == "ward":
            return [
                w for w in made["ward"] if any(WARDS.get(r, lambda _: True)(w) for r in self.roles)
            ]
        return [
            p
            for p in made["patient"]
            if any(
                PATIENT_ROWS.get(r, lambda *_: True)(p, wards[p["wardCode"]]) for r in self.roles
            )
        ]

    def form(self, type_name: str, name: str) -> str:
        prop = next(p for p in SCHEMA[type_name]["properties"] if p["name"] == name)
        return form(prop, self.roles)

    def secrets(self) -> frozenset[str]:
        """The texts that must not leave: all values but those of plain fields in visible rows."""
        seen = {
            text
            for type_name in SCHEMA
            for row in self.rows(type_name)
            for name, value in row.items()
            if self.form(type_name, name) == "plain"
            for text in texts(value)
        }
        return all_texts() - seen


def texts(value: Any) -> Iterator[str]:
    """The planted texts in a value."""
    if isinstance(value, dict):
        for pair in value.items():
            yield from pair
    elif isinstance(value, list):
        yield from value
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield str(value)


@lru_cache
def all_texts() -> frozenset[str]:
    return frozenset(
        text
        for several in rows().values()
        for row in several
        for value in row.values()
        for text in texts(value)
    )


def hashed(value: str, secret: bytes) -> str:
    """The mask `hash` as the reference states it."""
    key = hmac.new(secret, b"mask", hashlib.sha256).digest()
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()
