"""What was last seen of canonical is believed for the same contract and address only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recordgate.last_canonical import FILE, LastCanonical, recall, remember
from stores.contract.load import load_contract
from stores.lineage import Lineage
from tests.acceptance.gateway_rig import GEONAMES

URL = "postgresql://reader:secret@db.example:5432/geo"
SEEN = LastCanonical(Lineage("7412/16384", 3, ((1, 100), (2, 200)), 1), bytewise=False)
CONTRACT = load_contract(GEONAMES)


def test_it_comes_back_whole_and_holds_no_password(tmp_path: Path) -> None:
    remember(tmp_path / "data", CONTRACT, URL, SEEN)
    file = tmp_path / "data" / FILE
    assert recall(tmp_path / "data", CONTRACT, URL.replace("secret", "changed")) == SEEN
    assert "secret" not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in file.parent.iterdir()] == [FILE]


@pytest.mark.parametrize("url", [URL.replace("db.", "other."), URL.replace("/geo", "/geo2")])
def test_another_address_is_not_it(tmp_path: Path, url: str) -> None:
    remember(tmp_path, CONTRACT, URL, SEEN)
    assert recall(tmp_path, CONTRACT, url) is None


def test_another_contract_is_not_it(tmp_path: Path) -> None:
    remember(tmp_path, CONTRACT, URL, SEEN)
    assert recall(tmp_path, replace(CONTRACT, id="another"), URL) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"contract": "geonames"}', "null"])
def test_a_file_that_says_nothing_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert recall(tmp_path, CONTRACT, URL) is None


def test_a_folder_that_takes_nothing_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in its place")
    remember(tmp_path / "data", CONTRACT, URL, SEEN)
    assert recall(tmp_path / "data", CONTRACT, URL) is None
