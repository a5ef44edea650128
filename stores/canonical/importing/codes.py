"""The codes of rows that an import sets aside; docs/reference/import-codes.md explains each to
users."""

from __future__ import annotations

from enum import StrEnum


class Reject(StrEnum):
    """The reasons for which a row is not taken. A row has every reason that is true of it."""

    RAGGED_ROW = "RAGGED_ROW"
    """CSV: another number of fields than the header has."""
    INVALID_JSON = "INVALID_JSON"
    """NDJSON: the line is not a JSON object."""
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    """NDJSON: a field that the first part of the file did not have."""
    NUL_BYTE = "NUL_BYTE"
    INVALID_TYPE = "INVALID_TYPE"
    REQUIRED = "REQUIRED"
    TOO_SHORT = "TOO_SHORT"
    TOO_LONG = "TOO_LONG"
    PATTERN = "PATTERN"
    NOT_IN_ENUM = "NOT_IN_ENUM"
    TOO_SMALL = "TOO_SMALL"
    TOO_LARGE = "TOO_LARGE"
    NOT_MULTIPLE = "NOT_MULTIPLE"
    CHECK = "CHECK"
    """A check of the table that the contract does not know."""
    DUPLICATE_KEY = "DUPLICATE_KEY"
    """An earlier row of the file has the same key."""
    DUPLICATE_VALUE = "DUPLICATE_VALUE"
    """An earlier row of the file has the same value of a unique property."""
    KEY_EXISTS = "KEY_EXISTS"
    """Mode insert: a record with this key already exists."""
    UNIQUE_TAKEN = "UNIQUE_TAKEN"
    """Another record has this value of a unique property already."""
    FOREIGN_KEY = "FOREIGN_KEY"
    """The record pointed to does not exist."""
    FOREIGN_KEY_IN_USE = "FOREIGN_KEY_IN_USE"
    """The record cannot be deleted: others point to it."""
