"""A checkout that only root may enter has its servers where their account can reach them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compose.local import fetch


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as another account")
@pytest.mark.parametrize(("mode", "inside"), [(0o700, False), (0o755, True)])
def test_servers_are_kept_where_their_account_can_enter(
    mode: int, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = Path(f"/tmp/recordgate-checkout-{os.getpid()}-{mode:o}")
    project = top / "project"
    (project / "compose" / "local").mkdir(parents=True)
    try:
        project.chmod(0o755)
        top.chmod(mode)
        monkeypatch.delenv("RECORDGATE_TEST_SERVERS_DIR", raising=False)
        monkeypatch.setattr(fetch, "HERE", project / "compose" / "local")
        found = fetch.servers_dir()
        assert (found == project / ".servers") is inside
        assert inside or found == fetch.SHARED
        monkeypatch.setenv("RECORDGATE_TEST_SERVERS_DIR", "/named")
        assert fetch.servers_dir() == Path("/named")
    finally:
        for folder in (project / "compose" / "local", project / "compose", project, top):
            folder.rmdir()
