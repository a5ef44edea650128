"""Says in words what a property's rules allow. Pure; a value is never part of it."""

from __future__ import annotations

from stores.contract.model import Property, Scalar

MOST = 300
"""Characters of what is allowed; the rest of a long list is left out."""


def allowed_values(prop: Property) -> str:
    """Return the sentence part "must be one of …"."""
    return "must be one of " + _short(", ".join(prop.enum))


def what_is_allowed(prop: Property, rule: str) -> str:
    """Return what a value must be to keep the rule, as `checks.check_expressions` names it."""
    unit = "bytes" if prop.scalar is Scalar.BYTES else "characters"
    words = {
        "enum": allowed_values(prop),
        "min": f"must be at least {prop.minimum}",
        "max": f"must be at most {prop.maximum}",
        "xmin": f"must be more than {prop.exclusive_minimum}",
        "xmax": f"must be less than {prop.exclusive_maximum}",
        "multiple": f"must be a multiple of {prop.multiple_of}",
        "minlen": f"must have at least {prop.min_length} {unit}",
        "maxlen": f"must have at most {prop.max_length} {unit}",
        "pattern": f"must match the pattern {_short(prop.pattern or '')}",
    }
    if rule == "enum" and prop.array:
        return words[rule].replace("must be", "must hold only values that are")
    return words[rule]


def _short(text: str) -> str:
    return text if len(text) <= MOST else text[:MOST] + "…"
