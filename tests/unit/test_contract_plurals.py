"""Plurals and singulars that types of data products really have."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stores.contract.plurals import plural, singular

PAIRS = """
address addresses, alias aliases, analysis analyses, axis axes, batch batches, boss bosses, box boxes, branch branches,
bus buses, cache caches, calf calves, case cases, category categories, child children, city cities, class classes,
country countries, course courses, crisis crises, criterion criteria, currency currencies, database databases,
datum data, day days, delivery deliveries, diagnosis diagnoses, employee employees, expense expenses, fax faxes,
fish fish, flight flights, foot feet, gas gases, half halves, hero heroes, horse horses, house houses, index indexes,
invoice invoices, key keys, knife knives, leaf leaves, lens lenses, license licenses, life lives, man men, mouse mice,
movie movies, nurse nurses, person people, phenomenon phenomena, photo photos, prize prizes, process processes,
purchase purchases, quiz quizzes, release releases, response responses, roof roofs, schema schemas, series series,
sheep sheep, shelf shelves, size sizes, species species, status statuses, story stories, synopsis synopses, tax taxes,
thesis theses, tomato tomatoes, tooth teeth, use uses, valve valves, virus viruses, volcano volcanoes, wife wives,
woman women, human humans
"""


@pytest.mark.parametrize("pair", [p.split() for p in PAIRS.replace("\n", " ").split(",")])
def test_one_leads_to_many_and_back(pair: list[str]) -> None:
    one, many = pair
    assert (plural(one), singular(many)) == (many, one)


@pytest.mark.parametrize("noun", ["address", "status", "analysis", "city", "glass", "bias", "is"])
def test_a_singular_is_not_taken_for_a_plural(noun: str) -> None:
    assert singular(noun) is None


def test_a_plural_costs_no_package() -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from stores.contract.names import single_and_plural as s; s('city', '', '');"
            "print('inflect' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "False"
