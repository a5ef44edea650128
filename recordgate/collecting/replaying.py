"""Landings merged once more, as the contract maps them now."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence
from typing import Any

from recordgate.collecting import books, landing
from recordgate.collecting.merging import filled, import_lines, key_of
from recordgate.collecting.shaping import shaped, shaper_of
from recordgate.collecting.walk import Outcome, Surroundings
from stores.canonical.connect import Connection
from stores.canonical.importing import ImportOptions, Mode
from stores.canonical.importing.run import ImportSession
from stores.errors import InputError


def replay(
    at: Surroundings, connection: Connection, numbers: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """number → what merging it did. Raises InputError where one is not here any more."""
    done: dict[int, dict[str, Any]] = {}
    found = books.landings(connection, "id = ANY(%s)", list(numbers))
    texts = {one["id"]: landing.read(one) for one in found}
    lacking = [n for n in numbers if texts.get(n) is None]
    if lacking:
        raise InputError(f"the landing {lacking[0]} is not on this host (any more)")
    with ImportSession(at.url, at.contract) as session:
        for one in found:
            record = at.contract.types.get(one["source"])
            if record is None or record.collect is None:
                raise InputError(f"the contract says no source of {one['source']!r} any more")
            shaper = shaper_of(record.collect, record)
            records = list(landing.records_of(texts[one["id"]] or b""))
            columns = filled(shaper, set().union(*records))
            rows = shaped(records, shaper, record.collect, key_of(record), columns=columns)
            outcome = Outcome(pages=one["pages"], read=one["rows"])
            folder = landing.Landings(at.data_dir, one["source"])
            parts = (
                (rows.deletes, rows.deleted, Mode.DELETE),
                (rows.upserts, rows.rows, Mode.UPSERT),
            )
            for data, count, mode in parts:
                if not count:
                    continue
                batch = f"{one['source']}:replay:{secrets.token_hex(6)}"
                options = ImportOptions(mode=mode, batch=batch)
                report = import_lines(session, folder, record, data, options)
                if report.state == "refused":
                    raise InputError(report.problem, hint=report.hint)
                outcome.add(report)
            done[one["id"]] = dataclasses.asdict(outcome)
    return done
