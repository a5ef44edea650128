"""JSON whose numbers may be larger than a double: jsonb holds `1e400`, and one such number must not
cost a page.

`loads` is orjson's; only where that gives up on a number, the text is read again, slowly, and a
number out of range is kept as the digits that it is (an `orjson.Fragment`, which orjson writes back
as it stands).
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson


def loads(raw: bytes | str) -> Any:
    """Raises orjson.JSONDecodeError."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "infinity" not in error.msg:
            raise
        try:
            found = json.loads(raw, parse_int=_number, parse_float=_number, parse_constant=_refused)
            orjson.dumps(found)  # it is stricter, as with half of a surrogate pair
        except (ValueError, TypeError, RecursionError):
            raise error from None
        return found


def _number(text: str) -> Any:
    """Read a number as orjson does, where orjson can."""
    return orjson.loads(text) if math.isfinite(float(text)) else orjson.Fragment(text)


def _refused(text: str) -> Any:
    raise ValueError(text)
