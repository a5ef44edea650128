"""Servers of a test's own, for tests that kill them or need settings of their own: `own_server` is
a Postgres, `server` a MongoDB server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from recordgate.embedded import EmbeddedPostgres
from tests.mongodb_server import server  # noqa: F401


@pytest.fixture
def own_server() -> Iterator[Callable[..., str]]:
    """`own_server(setting="value", …)` starts a server and gives its URL."""
    with ExitStack() as stack:

        def start(**settings: str) -> str:
            folder = Path(tempfile.mkdtemp(prefix="recordgate-test-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            # The server may run as another account than root, which has to get there.
            folder.chmod(0o711)
            server = EmbeddedPostgres(folder, settings)
            stack.callback(server.remove)
            return server.start()

        yield start
