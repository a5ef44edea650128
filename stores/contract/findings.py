"""The linter's findings: one finding is one thing wrong at one place. `CODES` has every code; each
is in docs/reference/contract.md (a test fails when one is missing there)."""

from __future__ import annotations

from dataclasses import dataclass

from stores.contract.yaml_source import TextPosition, YamlSource

CODES: dict[str, str] = {
    # the file
    "FILE_UNREADABLE": "The file is missing, a folder without contracts, or may not be read.",
    "FILE_TOO_LARGE": "The file is larger than 5 MB.",
    "NOT_UTF8": "The file is not UTF-8 text.",
    "BAD_CHARACTER": "A NUL byte or another control character.",
    # YAML
    "YAML_SYNTAX": "The text is not YAML.",
    "YAML_DUPLICATE_KEY": "A mapping has the same key twice.",
    "YAML_UNSUPPORTED": "A tag, a merge key, a key that is not text, or a second document.",
    "YAML_TOO_BIG": "Too deep, too many nodes, or aliases that expand to too much.",
    # the standard
    "SCHEMA": "A violation of the JSON schema of ODCS.",
    "MISSING_KEY": "A key that ODCS requires is missing.",
    "UNKNOWN_KEY": "A key that ODCS does not know.",
    "API_VERSION": "An `apiVersion` other than v3.",
    "EMPTY_SCHEMA": "No schema object, or one without properties.",
    # names
    "BAD_NAME": "A name that cannot be used, or has no GraphQL form.",
    "RESERVED_NAME": "A name that is reserved by recordgate or Postgres.",
    "DUPLICATE_NAME": "Two things with the same name; letter case counts only for tables and"
    " columns.",
    "DUPLICATE_ID": "Two elements of one list with the same `id`.",
    # types
    "MISSING_TYPE": "A property without `logicalType`, or an array without `items`.",
    "UNSUPPORTED_TYPE": "A type that recordgate does not store.",
    "UNKNOWN_PHYSICAL_TYPE": "An unknown `physicalType`.",
    "TYPE_CONFLICT": "A `physicalType` that does not fit the `logicalType` or its options.",
    # constraints
    "BAD_ENUM": "A value of `enum` that is no mapping, does not fit the type, or occurs twice.",
    "BAD_BOUND": "A bound that does not fit the type, or bounds that no value satisfies.",
    "BAD_REGEX": "A `pattern` that Python or Postgres does not accept, or that they interpret"
    " differently.",
    # keys and relationships
    "NO_PRIMARY_KEY": "A schema object without `primaryKey`.",
    "BAD_KEY": "A primary key whose type or order is not supported.",
    "DANGLING_RELATIONSHIP": "A relationship to or from something that does not exist.",
    "NOT_UNIQUE": "A relationship to properties that are neither the primary key nor unique.",
    "RELATIONSHIP_TYPE": "The two ends of a relationship differ in their types or their number of"
    " properties.",
    "DUPLICATE_RELATIONSHIP": "A relationship that is declared twice.",
    # quality and SLA
    "TWO_OPERATORS": "A quality rule with none or more than one operator.",
    "QUERY_NOT_SELECT": "A quality query that is not one SELECT.",
    "BAD_RULE": "A quality rule that cannot be measured as declared.",
    "BAD_SCHEDULE": "A schedule that is not a cron expression, or never fires.",
    "NOT_MEASURED": "A declaration that nothing in recordgate measures.",
    "UNKNOWN_SLA": "An unknown SLA property.",
    "BAD_SLA": "An SLA value, unit or element that does not fit its property.",
    # extensions of recordgate
    "UNKNOWN_EXTENSION": "A custom property of vendor recordgate that is unknown, or not allowed"
    " here.",
    "BAD_EXTENSION": "A custom property of vendor recordgate with an invalid value.",
    "UNKNOWN_ROLE": "A role that is not declared in the contract's `roles`.",
    "UNKNOWN_RELATION": "`embed` or `rowFilter` names a relation or property that does not exist.",
    "EMBED_CYCLE": "`embed` returns to a type that it already contains.",
    "SECRET_IN_CONTRACT": "A secret of a source stands in the contract, or would.",
    "EMBED_TOO_DEEP": "`embed` goes deeper than three relations.",
    "EMBED_HIDDEN_KEY": "`embed` follows a foreign key that not every role may see.",
    "MIXED_CONTRACTS": "Files of one folder that contradict each other.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`line` and `column` count from 1. `severity`: "error" (the contract starts nothing) or
    "warning"."""

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.code}: {self.message}"

    def as_dict(self) -> dict[str, str | int]:
        return {name: getattr(self, name) for name in self.__slots__}


class Findings:
    """Collects findings, each once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, int, str, str], Finding] = {}

    def add(
        self,
        source: YamlSource,
        place: TextPosition,
        code: str,
        message: str,
        hint: str = "",
        severity: str = "error",
    ) -> None:
        assert code in CODES, code
        finding = Finding(source.file, place.line, place.column, code, message, hint, severity)
        key = (finding.file, finding.line, finding.column, code, message)
        self._found.setdefault(key, finding)

    def sorted(self) -> list[Finding]:
        return sorted(self._found.values(), key=lambda f: (f.file, f.line, f.column, f.code))

    def __len__(self) -> int:
        return len(self._found)

    @property
    def errors(self) -> list[Finding]:
        return [f for f in self.sorted() if f.severity == "error"]
