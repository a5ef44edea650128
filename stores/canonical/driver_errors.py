"""Turns an error of the driver into one of ours, once, at canonical's edge.

The server's message texts never leave: they may carry values of rows. What leaves is built from the
SQLSTATE and from names (table, column, constraint).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from stores.canonical.rule_words import what_is_allowed
from stores.contract.model import Contract, RecordType
from stores.errors import (
    ConflictError,
    ConstraintError,
    InputError,
    LimitError,
    RecordgateError,
    SchemaChanged,
    SetupError,
    StoreLost,
    StoreRefused,
    StoreUnavailable,
    Told,
)

STORE = "postgres"

_UNAVAILABLE = {
    "57014": "canonical took longer than the time allowed",
    "57P01": "canonical is shutting down",
    "57P02": "canonical crashed and is restarting",
    "57P03": "canonical is starting up",
    "57P05": "canonical closed an idle session",
    "53100": "canonical's disk is full",
    "53200": "canonical is out of memory",
    "53300": "canonical has no free connection",
    "25006": "canonical is read-only",
    "25P03": "canonical closed a session that was idle in a transaction",
    "25P04": "canonical ended a transaction that exceeded its time limit",
}
_CONFLICT = {
    "40001": "another transaction changed the same records",
    "40P01": "another transaction held the same records",
    "55P03": "another session holds a required lock",
    "55006": "the object is in use by another session",
}
_SETUP = {
    "28000": "canonical refused the login",
    "28P01": "canonical refused the password",
    "3D000": "canonical's database does not exist",
    "42501": "the account lacks a privilege in canonical",
}
_CHANGED = {
    "42P01": "a table is missing in canonical",
    "42703": "a column is missing in canonical",
    "3F000": "a schema is missing in canonical",
    "42804": "a column of canonical is of another type than the contract says",
    "42846": "a column of canonical is of another type than the contract says",
    "42883": "a column of canonical is of another type than the contract says",
}
_CHANGED_HINT = (
    "`recordgate plan` shows the difference: apply the contract, or start this process with the"
    " one that was applied last"
)
_SETUP_HINTS = {
    "28000": "check the user in the setting `postgres`",
    "28P01": "check postgres_password_file, PGPASSWORD or ~/.pgpass",
    "3D000": "create the database, or correct the setting `postgres`",
    "42501": "grant the missing privilege; `recordgate doctor` names it",
}
_INPUT = {
    "22001": "a value is longer than its property allows",
    "22003": "a number is out of range",
    "22007": "a value is not a date or time",
    "22008": "a date or time is out of range",
    "22021": "a text is not valid UTF-8",
    "22P02": "a value has the wrong form for its type",
    "22P05": "a text has a character that canonical cannot store",
    "22012": "division by zero",
}


_RULES = ("P0001", "44000")
"""The SQLSTATEs of rules of the application's own: raised by a trigger, or by a view that would not
show the row."""
_STILL_THERE = "still referenced"
_NOT_THERE = "not present"
"""The words in the detail of a broken foreign key about the row that is referred to."""


def translate(error: psycopg.Error, contract: Contract | None = None) -> RecordgateError:
    """The error of ours that says what `error` means. With `contract`, names become properties."""
    state = error.sqlstate or ""
    if state.startswith("23"):
        return _constraint(error, contract)
    if state in _RULES:
        return ConstraintError("a rule in canonical refuses the record", told=Told(known=False))
    if state.startswith("54"):
        return LimitError("a value is larger than canonical accepts", hint="give less")
    if state in _CONFLICT:
        return ConflictError(_CONFLICT[state], hint="try again")
    if state in _SETUP:
        return SetupError(_SETUP[state], hint=_SETUP_HINTS[state])
    if state in _CHANGED:
        missing = state in ("42P01", "3F000")
        hint = "run `recordgate apply`" if missing else _CHANGED_HINT
        return SchemaChanged(_CHANGED[state], hint=hint)
    if state in _UNAVAILABLE:
        unavailable = StoreUnavailable(_UNAVAILABLE[state], store=STORE)
        if state == "57014":
            unavailable.detail_code = "TIMEOUT"
        return unavailable
    if state in _INPUT or state.startswith("22") or (isinstance(error, psycopg.DataError)):
        return InputError(_INPUT.get(state, "canonical does not accept a value"))
    if state[:2] in ("08", "53", "57", "58"):
        return StoreUnavailable(f"canonical is not available (SQLSTATE {state})", store=STORE)
    if state[:3] == "XX0" and state != "XX000":
        return StoreLost("canonical reports damaged data", store=STORE, hint="see its log")
    if not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return _without_state(error)
    return StoreRefused(
        f"canonical refused a statement (SQLSTATE {state or 'unknown'})", store=STORE
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver raises inside the block, as where the connection is lost, into an error
    of ours."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from None


@contextmanager
def of_own_tables(contract: Contract | None = None) -> Iterator[None]:
    """Turn the driver's errors into ours where statements name recordgate's own tables alone.
    Raises SetupError where these are missing."""
    try:
        yield
    except psycopg.errors.UndefinedTable:
        raise SetupError(
            "recordgate's own tables are missing", hint="run `recordgate apply`"
        ) from None
    except psycopg.Error as error:
        raise translate(error, contract) from None


def _without_state(error: psycopg.Error) -> RecordgateError:
    """Trouble that comes without a SQLSTATE: libpq could not connect, or lost the connection."""
    text = str(error)
    for mark, state in (
        ("password authentication failed", "28P01"),
        ("no password supplied", "28P01"),
        ("no pg_hba.conf entry", "28000"),
    ):
        if mark in text:
            return SetupError(_SETUP[state], hint=_SETUP_HINTS[state])
    if re.search(r'database "[^"]*" does not exist', text):
        return SetupError(_SETUP["3D000"], hint=_SETUP_HINTS["3D000"])
    if re.search(r'role "[^"]*" does not exist', text):
        return SetupError(_SETUP["28000"], hint=_SETUP_HINTS["28000"])
    if "timeout" in text.lower():
        return StoreUnavailable("canonical did not answer in time", store=STORE)
    return StoreUnavailable(
        "canonical is not reachable, or the connection was lost",
        store=STORE,
        hint="see `recordgate doctor`",
    )


def _constraint(error: psycopg.Error, contract: Contract | None) -> ConstraintError:
    diag = error.diag
    found = _type_of(contract, diag.schema_name, diag.table_name)
    columns = _columns(error, found)
    fields = [found.by_column[c].name for c in columns] if found else list(columns)
    where = found.name if found else diag.table_name or "a table"
    what = f"{where}.{'+'.join(fields)}" if fields else where
    state = error.sqlstate
    if state == "23502":
        message = f"{what}: a value is required"
    elif state == "23505":
        message = f"{what}: another record has the same value"
    elif state in ("23503", "23001"):
        if _STILL_THERE in (diag.message_detail or ""):
            message = f"{what}: other records still reference the record"
        elif _NOT_THERE in (diag.message_detail or ""):
            message = f"{what}: the referenced record does not exist"
        else:  # a server that speaks another language, or an account that may not see the key
            message = f"{what}: the referenced record does not exist, or is still referenced"
    elif state == "23514":
        message = _broken_rule(diag.constraint_name or "", what, found)
    elif state == "23P01":
        message = f"{what}: another record excludes it"
    else:
        message = f"{what}: a rule in canonical refuses the record"
    told = _told(error, contract, found, columns)
    return ConstraintError(message, field=fields[0] if len(fields) == 1 else None, told=told)


def _broken_rule(name: str, what: str, found: RecordType | None) -> str:
    """Return what a check allows; of one that the contract does not know, only that it is
    broken."""
    from stores.canonical.tables import check_rules

    prop, rule = check_rules(found).get(name, (None, "")) if found else (None, "")
    if prop is None:
        return f"{what}: a value breaks a rule of the table"
    return f"{what} {what_is_allowed(prop, rule)}"


def _told(
    error: psycopg.Error,
    contract: Contract | None,
    found: RecordType | None,
    columns: tuple[str, ...],
) -> Told:
    """Return the types and properties that the message says something of. A constraint whose
    columns are not known can be about any."""
    if contract is None or found is None:
        return Told(known=False)
    about = columns or tuple(found.by_column)
    properties = tuple((found.name, found.by_column[c].name) for c in about)
    if error.sqlstate in ("23502", "23514"):
        return Told(properties)
    if error.sqlstate not in ("23503", "23001"):
        return Told(properties, (found.name,))
    followed = [r for r in found.relations if r.owner and columns in ((), r.columns)]
    if not followed:
        return Told(properties, known=False)
    ends: list[tuple[str, str]] = []
    for relation in followed:
        target = contract.types[relation.target]
        keys = (target.by_column.get(c) for c in relation.target_columns)
        ends += [(target.name, p.name) for p in keys if p]
    # Which side was written is in the detail, in the server's language: both, where we cannot read
    # it.
    detail = error.diag.message_detail or ""
    referring = () if _NOT_THERE in detail else (found.name,)
    referred = () if _STILL_THERE in detail else tuple(r.target for r in followed)
    return Told((*properties, *ends), (*referring, *referred))


def _type_of(contract: Contract | None, schema: str | None, table: str | None) -> RecordType | None:
    for found in contract.types.values() if contract else ():
        if (found.schema, found.table) == (schema, table):
            return found
    return None


def _columns(error: psycopg.Error, found: RecordType | None) -> tuple[str, ...]:
    """The columns that the broken constraint is about; empty where that is unknown."""
    diag = error.diag
    if diag.column_name:
        return (diag.column_name,) if not found or diag.column_name in found.by_column else ()
    if found is None:
        return ()
    from stores.canonical.tables import constraint_columns

    named = constraint_columns(found).get(diag.constraint_name or "")
    if named:
        return named
    # Attached tables have names of their own: the detail begins with the columns, "Key (a, b)=(…".
    # Where other records refer to the record, they are those of its key.
    detail = diag.message_detail or ""
    match = None if _STILL_THERE in detail else re.match(r"Key \(([^=]*)\)=", detail)
    listed = [c.strip().strip('"') for c in match.group(1).split(",")] if match else []
    return tuple(listed) if listed and all(c in found.by_column for c in listed) else ()
