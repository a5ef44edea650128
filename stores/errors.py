"""The one tree of errors. A driver's error becomes one of these once, at the adapter's edge.

    RecordgateError
    ├── ContractError          the contract, or what was asked of it, is wrong
    ├── InputError             the caller's input is wrong; the same call fails again
    │   └── LimitError         the input is right but larger than allowed
    ├── ConstraintError        canonical refused a row: key, foreign key, check, not null
    ├── ConflictError          somebody else was faster, or holds what is needed
    │   └── FencedError        another worker is in charge: this one must not write any more
    ├── ForbiddenError         the caller's roles do not allow it
    ├── TimeoutExceeded        the call took longer than a limit allows, and was stopped
    ├── StoreError             a store did not do what was asked
    │   ├── StoreUnavailable   not reached, overloaded or timed out: the same call may work later
    │   │   └── NotLoaded      reached and well, but what was asked for is not loaded into it yet
    │   ├── StoreRefused       reached, and it said no: the same call fails again
    │   │   └── TooMuchWork    it was stopped: it would have read more than it may
    │   ├── StoreLost          it has lost data, or belongs to somebody else
    │   └── NotReadable        canonical gives nobody the records of one type; others may be read
    ├── StaleError             no store is as fresh as the caller asked
    ├── SourceError            a source that records are collected from did not give what it should
    ├── GapError               changes are missing between our position and the source
    └── SetupError             the surroundings are wrong: a port, a folder, a setting, a version
        └── SchemaChanged      canonical's tables are not what the contract of this process says

Every class has a stable `code`, listed in docs/reference/errors.md (a test fails when one is not).
A message says what is wrong and where; `hint` says what to do. Neither carries SQL, secrets or
values of hidden fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class RecordgateError(Exception):
    """Base of all errors that recordgate raises on purpose. `rows`: of a call with several records,
    what is wrong with each bad one: its index, code, message and field."""

    code: ClassVar[str] = "INTERNAL"
    rows: tuple[dict[str, object], ...] = ()

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail_code = code or self.code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ContractError(RecordgateError):
    """The contract is wrong. `findings` holds every finding of the linter, where it was the
    linter."""

    code = "CONTRACT_INVALID"

    def __init__(self, message: str, *, hint: str = "", findings: tuple[object, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.findings = findings


class InputError(RecordgateError):
    """The caller's input is wrong."""

    code = "BAD_USER_INPUT"


class LimitError(InputError):
    """The input is larger than a limit; the message names the limit and the setting that moves
    it."""

    code = "LIMIT_EXCEEDED"


@dataclass(frozen=True, slots=True)
class Told:
    """The meaning of a broken constraint's message to its reader. `properties` are those it names,
    as (type, property); `rows` the types of whose other rows it says something. `known` is False
    where it is about something that the contract does not have."""

    properties: tuple[tuple[str, str], ...] = ()
    rows: tuple[str, ...] = ()
    known: bool = True


class ConstraintError(RecordgateError):
    """Canonical refused a row. `field` names the property where one is known. `told`: what the
    message tells of, where canonical itself refused; who may not see all of that must not get
    it."""

    code = "CONSTRAINT_VIOLATION"

    def __init__(
        self, message: str, *, hint: str = "", field: str | None = None, told: Told | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.field = field
        self.told = told


class ConflictError(RecordgateError):
    """Another party changed or holds what this call needs. `holder` is its process id, if it is on
    this machine and known."""

    code = "CONFLICT"

    def __init__(
        self, message: str, *, hint: str = "", holder: int | None = None, code: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.holder = holder


class FencedError(ConflictError):
    """Another worker has taken over; this one must not write any more."""


class ForbiddenError(RecordgateError):
    """The caller's roles do not allow it. The message names nothing that the caller may not
    know."""

    code = "FORBIDDEN"


class TimeoutExceeded(RecordgateError):
    """The call took longer than a limit allows, and was stopped; nothing of it remains."""

    code = "TIMEOUT"


class StoreError(RecordgateError):
    """A store did not do what was asked. `store` names it."""

    code = "STORE_ERROR"

    def __init__(self, message: str, *, store: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.store = store


class StoreUnavailable(StoreError):
    """The store is not reachable, overloaded or timed out. A retry may succeed, after
    `retry_after` seconds if given."""

    code = "STORE_UNAVAILABLE"

    def __init__(
        self, message: str, *, store: str, hint: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, store=store, hint=hint)
        self.retry_after = retry_after


class NotLoaded(StoreUnavailable):
    """The store is well, and does not hold yet what was asked for: a type whose first load runs, or
    a property that the contract has been given since. Says nothing against the store, so no breaker
    counts it."""


class StoreRefused(StoreError):
    """The store understood and refused: not worth another try."""

    code = "STORE_REFUSED"


class TooMuchWork(StoreRefused):
    """The store stopped a read that took longer than it may: its statistics, or ours, were wrong.
    Says nothing against the store."""


class StoreLost(StoreError):
    """The store's data is gone, older than our positions, or belongs to another contract.
    `foreign`: somebody else's data stands in the place of ours; nothing of ours is lost, and
    loading it anew would not help."""

    code = "STORE_LOST"

    def __init__(self, message: str, *, store: str, hint: str = "", foreign: bool = False) -> None:
        super().__init__(message, store=store, hint=hint)
        self.foreign = foreign


class NotReadable(StoreError):
    """Canonical refuses every statement that reads the records of `type_name`, for a reason that is
    not the connection's; other types may be readable."""

    code = "TYPE_NOT_READABLE"

    def __init__(self, type_name: str, reason: str, *, hint: str = "") -> None:
        message = f"canonical cannot read {type_name}: {reason}"
        super().__init__(message, store="postgres", hint=hint)
        self.type_name = type_name
        self.reason = reason


class StaleError(RecordgateError):
    """No store that can answer is as fresh as requested. `behind_ms` says by how much, if known."""

    code = "STALE"

    def __init__(self, message: str, *, hint: str = "", behind_ms: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.behind_ms = behind_ms


class SourceError(RecordgateError):
    """A source did not give what it should; what it gave before stays. `detail_code` says what;
    `retry_after`: seconds for which it asked not to be asked again."""

    code = "SOURCE_FAILED"

    def __init__(
        self, message: str, *, hint: str = "", code: str | None = None, retry_after: float = 0.0
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retry_after = retry_after


class GapError(RecordgateError):
    """Changes are missing between our position and the source; only a reload heals it."""

    code = "GAP"


class SetupError(RecordgateError):
    """The surroundings are wrong: a port in use, a folder of another account, an unknown
    setting."""

    code = "SETUP"


class SchemaChanged(SetupError):
    """Canonical's tables are not what the contract of this process says: a table or column is gone,
    or is of another type. What does not touch it goes on."""
