"""Tantivy's errors in our terms. The binding raises ValueError or OSError with a text for
everything, and a PanicException, which is no Exception, where the library itself gave up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stores.errors import RecordgateError, StoreError, StoreLost, StoreUnavailable

KIND = "tantivy"

_RELOAD = "reload it: recordgate reload {where} --sink search"
_DISK = ("No space left", "os error 28", "StorageFull", "QuotaExceeded", "os error 122")
_ACCESS = ("Permission denied", "os error 13", "Read-only file system", "os error 30")
_DAMAGED = (
    "corrupt", "Corrupt", "DataCorruption", "does not exist", "DoesNotExist", "not exist",
    "deserialize", "footer", "os error 2)", "incompatible", "Incompatible", "meta.json",
)  # fmt: skip


def lost(where: str) -> StoreLost:
    return StoreLost(
        f"{KIND}: the index of {where} is damaged or missing",
        store=KIND,
        hint=_RELOAD.format(where=where),
    )


def translate(text: str, where: str) -> StoreError:
    """Return one of our errors for the text of one of Tantivy's. `where` names the index."""
    if any(mark in text for mark in _DISK):
        return StoreUnavailable(
            f"{KIND}: the index of {where} cannot be written: the disk is full",
            store=KIND,
            hint="free space on the disk of data_dir; writing then continues by itself",
        )
    if any(mark in text for mark in _ACCESS):
        return StoreUnavailable(
            f"{KIND}: the index of {where} cannot be opened",
            store=KIND,
            hint="give this account read and write access to data_dir",
        )
    if any(mark in text for mark in _DAMAGED):
        return lost(where)
    return StoreUnavailable(
        f"{KIND}: the index of {where} failed",
        store=KIND,
        hint=f"it is retried; if that does not help, {_RELOAD.format(where=where)}",
    )


@contextmanager
def translated(where: str) -> Iterator[None]:
    try:
        yield
    except RecordgateError:
        raise
    except (ValueError, OSError) as error:
        raise translate(str(error), where) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise translate(str(error), where) from None
