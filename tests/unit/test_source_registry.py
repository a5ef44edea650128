"""The setting `changes` names a source by its scheme, and its URL never shows in an error."""

from __future__ import annotations

import pytest

from stores.errors import SetupError
from sync.sources.pgoutput import PgOutputSource
from sync.sources.registry import open_source
from tests.change_tables import CONTRACT

CANONICAL = "postgresql://somebody:secret-of-it@127.0.0.1:1/db"


def test_pgoutput_reads_canonical_itself() -> None:
    source = open_source("pgoutput:", CONTRACT, CANONICAL)
    assert isinstance(source, PgOutputSource)


@pytest.mark.parametrize(
    "url", ["", "pgoutput", "nothing://u:secret-of-it@h/", "pgoutput://u:secret-of-it@h/"]
)
def test_an_unknown_source_is_refused_without_showing_its_url(url: str) -> None:
    with pytest.raises(SetupError, match="the setting `changes`") as caught:
        open_source(url, CONTRACT, CANONICAL)
    assert "secret" not in str(caught.value)
