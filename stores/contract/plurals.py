"""English plurals and singulars of nouns in lower case: a few rules, and a table of what they miss.
Pure.

The rules were fitted to the 9,242 nouns that WordNet's tagged texts use, where the package
`inflect` was the measure; its import and first answer take seconds of processor time. Where they
are wrong for a type, its contract says `singular` and `plural`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_IRREGULAR = {
    "child": "children", "foot": "feet", "tooth": "teeth", "goose": "geese", "mouse": "mice",
    "louse": "lice", "die": "dice", "ox": "oxen", "person": "people", "man": "men",
    "criterion": "criteria", "phenomenon": "phenomena", "datum": "data", "stratum": "strata",
    "extremum": "extrema", "quiz": "quizzes", "whiz": "whizzes", "money": "monies",
    "persona": "personae", "stomach": "stomachs", "thief": "thieves", "sheaf": "sheaves",
    "gulf": "gulfs", "surf": "surfs", "turf": "turfs", "genus": "genera", "nucleus": "nuclei",
    "stimulus": "stimuli", "alumnus": "alumni", "codex": "codices", "bacterium": "bacteria",
    "axis": "axes", "alias": "aliases", "atlas": "atlases",
    "bias": "biases", "canvas": "canvases", "gas": "gases", "lens": "lenses",
    "cache": "caches", "niche": "niches", "creche": "creches", "psyche": "psyches",
    "avalanche": "avalanches", "ache": "aches", "headache": "headaches", "shoe": "shoes",
    "toe": "toes", "movie": "movies", "cookie": "cookies", "calorie": "calories",
    "zombie": "zombies", "rookie": "rookies", "selfie": "selfies", "genie": "genies",
    "prairie": "prairies", "pixie": "pixies", "tie": "ties", "pie": "pies", "lie": "lies",
    "valve": "valves", "solve": "solves", "dissolve": "dissolves", "resolve": "resolves",
}  # fmt: skip
_SINGULAR = {plural: singular for singular, plural in _IRREGULAR.items()}
_UNCHANGED = frozenset(
    (
        "aircraft",
        "baggage",
        "biceps",
        "butter",
        "cash",
        "chinese",
        "corps",
        "craft",
        "deer",
        "diabetes",
        "equipment",
        "fish",
        "furniture",
        "headquarters",
        "information",
        "japanese",
        "livestock",
        "luggage",
        "machinery",
        "news",
        "offspring",
        "proceedings",
        "salmon",
        "series",
        "sheep",
        "spacecraft",
        "species",
        "trousers",
    )
)
_MAN_STAYS = frozenset(("caiman", "german", "human", "ottoman", "roman", "shaman", "talisman"))
_OES = frozenset(
    (
        "buffalo",
        "cargo",
        "domino",
        "echo",
        "ego",
        "embargo",
        "halo",
        "hero",
        "mosquito",
        "motto",
        "potato",
        "tomato",
        "tornado",
        "torpedo",
        "veto",
        "volcano",
    )
)
_Y = re.compile(r"(?:[^aeiou]|qu)y\Z")
_F_TO_VES = re.compile(r"(?:[aeo]l|[lr]ea|oa|ar)f\Z")
_FE_TO_VES = re.compile(r"(?:li|wi|kni)fe\Z")
_SIS = re.compile(
    r"(?:aly|dialy|the|hypo|cri|oa|synop|empha|gno|neuro|psycho|thrombo|gene|nemi)ses\Z"
)
_ES = re.compile(r"(?:x|ch|sh|zz|ss|[^aeof]us|[^aeiou]ias)es\Z")
_USE = frozenset(("abuses", "excuses", "fuses", "misuses", "muses", "recluses", "uses"))


def plural(noun: str) -> str:
    """The plural of a noun in the singular."""
    if noun in _UNCHANGED:
        return noun
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("man") and noun not in _MAN_STAYS:
        return noun[:-3] + "men"
    if _Y.search(noun):
        return noun[:-1] + "ies"
    if noun.endswith(("sis", "xis")):
        return noun[:-2] + "es"
    if noun in _OES or noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if _F_TO_VES.search(noun):
        return noun[:-1] + "ves"
    if _FE_TO_VES.search(noun):
        return noun[:-2] + "ves"
    return noun + "s"


def singular(noun: str) -> str | None:
    """Return the singular of a plural noun, or None if it is not one."""
    if noun in _UNCHANGED:
        return noun
    if noun in _SINGULAR:
        return _SINGULAR[noun]
    if noun in _IRREGULAR:  # `bias`, `lens`
        return None
    return next((found for found in _candidates(noun) if plural(found) == noun), None)


def _candidates(noun: str) -> Iterator[str]:
    """Yield the nouns that a noun may be the plural of, the likeliest first."""
    if noun.endswith("men") and len(noun) > 4:
        yield noun[:-3] + "man"
    if len(noun) < 3 or not noun.endswith("s") or noun.endswith(("us", "ss", "is")):
        return
    if noun.endswith("ies") and len(noun) > 4:
        yield noun[:-3] + "y"
    elif noun.endswith("ves"):
        yield noun[:-3] + "f"
        yield noun[:-3] + "fe"
    elif _SIS.search(noun):
        yield noun[:-2] + "is"
    elif (noun[:-2] in _OES or _ES.search(noun)) and noun not in _USE:
        yield noun[:-2]
    yield noun[:-1]
