"""Queries that are nearly right: made by a grammar, then broken token by token."""

from __future__ import annotations

import random
import re
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_0-9.-]+|\.\.\.|\S')
ODD = (
    "{", "}", "(", ")", "[", "]", ":", "$", "!", "@", "...", "=", "|", "&", '"', '"""', "\\", "#", "\u0000", "\ufeff",
    "null", "true", "-", "0", "1e999", "-1", "99999999999999999999", "1.", "on", "fragment", "query", "mutation",
    "subscription", "__typename", "__schema", "@include(if: $x)", "@skip(if: null)", "@freshness(after: null)",
    '"\\ud800"', '"\\u0000"', "'; DROP TABLE things; --", "\U0010ffff", "\ud7ff", "{a:{a:{a:{}}}}", "[[[[]]]]",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 2**64, 10**400, 1e308, -0.0, "", "\u0000", "\U0010ffff", "x" * 100_000,
    "2024-02-30", "NaN", "infinity", [], [[]], [None], {}, {"eq": None}, {"": 0}, {"not": {"not": {}}},
    [{}] * 2000, {f"k{i}": i for i in range(2000)},
)  # fmt: skip


def mutilated(text: str, chance: random.Random) -> str:
    """`text` with some tokens dropped, doubled, moved or replaced."""
    tokens = _TOKEN.findall(text)
    for _ in range(chance.choice((1, 1, 2, 5))):
        place = chance.randrange(len(tokens)) if tokens else 0
        kind = chance.random()
        if kind < 0.25 and tokens:
            del tokens[place]
        elif kind < 0.4 and tokens:
            tokens.insert(place, tokens[place])
        elif kind < 0.6 and tokens:
            other = chance.randrange(len(tokens))
            tokens[place], tokens[other] = tokens[other], tokens[place]
        else:
            tokens.insert(place, chance.choice(ODD))
    return " ".join(tokens)


def odd_variables(variables: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """`variables` with one of their values, somewhere inside, replaced."""
    if not variables or chance.random() < 0.1:
        return {"x": chance.choice(VALUES)}
    return {k: _odd(v, chance) if chance.random() < 0.7 else v for k, v in variables.items()}


def _odd(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.7:
        key = chance.choice(list(value))
        return value | {key: _odd(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return [*value[:place], _odd(value[place], chance), *value[place + 1 :]]
    return chance.choice(VALUES)
