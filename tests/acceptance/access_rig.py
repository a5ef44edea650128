"""A gateway whose callers have keys of their own, for tests: the restricted contract, a key file,
and its wiring."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.security.access import Access
from gateway.security.api_keys import make_key
from gateway.security.authenticate import Anonymous, Authenticator, Rules
from gateway.security.key_file import KeyFile, changing_keys
from recordgate.settings import Settings
from stores.contract.model import Contract
from tests.acceptance.gateway_rig import Rig, gateway

RESTRICTED = Path(__file__).parent / "restricted.odcs.yaml"
PEOPLE = """
INSERT INTO departments (code, open, name) VALUES ('pub', true, 'Library'), ('sec', false, 'Blacksite');
INSERT INTO people (id, name, salary, email, department_code) VALUES
  (1, 'Ada Quill', 91000, 'ada.quill@example.org', 'pub');
"""


def run(
    database: str,
    folder: Path,
    work: Callable[[Rig], Any],
    access: Callable[[Contract], Access],
    **more: Any,
) -> None:
    async def main() -> None:
        more.setdefault("contract", RESTRICTED)
        more.setdefault("rows", PEOPLE)
        async with gateway(database, folder, access=access, **more) as rig:
            await work(rig)

    asyncio.run(main())


def keys_for(folder: Path, *roles: tuple[str, ...]) -> tuple[Path, list[str]]:
    """A key file with a key for each set of roles."""
    path, texts = folder / "keys.json", []
    with changing_keys(path) as keys:
        for several in roles:
            text, key = make_key("test", several, time.time(), None)
            keys[key.id] = key
            texts.append(text)
    return path, texts


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def with_keys(path: Path, **rules: Any) -> Callable[[Contract], Access]:
    given = Rules(**({"anonymous": Anonymous.NO} | rules))
    return lambda contract: Access(Authenticator(contract, given, keys=KeyFile(path)))


def settings(folder: Path, **values: Any) -> Settings:
    return Settings(data_dir=folder, **values)
