"""A URL whose scheme nothing answers to is refused where it is written, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from recordgate.settings import load_settings
from recordgate.urls_of_settings import known_schemes
from stores.errors import SetupError
from sync.sources.registry import SOURCES


@pytest.mark.parametrize("setting", ["postgres", "search", "documents", "changes"])
@pytest.mark.parametrize("url", ["nosuch://h:1/x", "elasticsearchs://u:pw@h", "secret-pw@h", ""])
def test_an_unknown_scheme_is_refused_with_its_file_and_line(
    setting: str, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "recordgate.toml"
    file.write_text(f'# {setting} = "x"\nport = 1\n{setting} = "{url}"\n')
    with pytest.raises(SetupError) as refused:
        load_settings(file)
    assert refused.value.message.startswith(f"{file}:3: the setting `{setting}`")
    assert "pw" not in str(refused.value)
    assert "use one of" in refused.value.hint


def test_a_variable_is_named_where_it_is_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "recordgate.toml"
    file.write_text('search = "tantivy:"\n')
    monkeypatch.setenv("RECORDGATE_SEARCH", "solr://h")
    with pytest.raises(SetupError, match=r"RECORDGATE_SEARCH: .*'solr'"):
        load_settings(file)


def test_every_known_scheme_is_taken(tmp_path: Path) -> None:
    for setting, schemes in known_schemes().items():
        for scheme in schemes:
            load_settings(**{setting: f"{scheme}:"})
    assert set(known_schemes()["changes"]) == set(SOURCES)
