"""The demo's stage: its folder with settings, contract and data, ready for any `recordgate`
command."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from recordgate.canonical_access import CanonicalAccess, open_canonical
from recordgate.demo.data import CITIES, DemoFiles, make_files
from recordgate.demo.leftovers import remove_leftovers
from recordgate.demo.servers import Stack, settings_of
from recordgate.embedded.layout import home_mode
from recordgate.settings import load_settings
from stores.errors import SetupError
from stores.private_files import make_folder

MARK = "# Written by `recordgate demo`; remove the folder to begin anew.\n"


@dataclass(frozen=True)
class Stage:
    folder: Path
    config: Path
    contract: Path
    data: DemoFiles
    cities: int = CITIES
    """The number of cities that the files hold."""

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def canonical(self) -> CanonicalAccess:
        """Canonical, running inside a `with` block: between two commands the embedded one would
        stop, and a connector of Debezium that is there by then would not stand that."""
        return open_canonical(load_settings(self.config))


def set_stage(
    folder: Path, stack: Stack = Stack.EMBEDDED, *, reset: bool = False, cities: int = CITIES
) -> Stage:
    """Make `folder` ready. `reset` removes an earlier demo's folder, and only such a folder;
    without it the stack and the cities of the first time stay."""
    config = folder / "recordgate.toml"
    if folder.exists() and any(folder.iterdir()) and not _is_ours(config):
        raise SetupError(
            f"{folder} is not a demo's folder",
            hint="name another folder with --data-dir",
        )
    if reset and folder.exists():
        _remove(folder)
    try:
        make_folder(folder, home_mode())
        contract = folder / "geonames.odcs.yaml"
        if not contract.exists():
            contract.write_text(
                files("recordgate.demo").joinpath("geonames.odcs.yaml").read_text("utf-8"), "utf-8"
            )
        if not config.exists():
            settings = {"contract": contract.name, "data_dir": ".", **settings_of(stack)}
            lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
            config.write_text(MARK + lines, "utf-8")
    except OSError as error:
        raise SetupError(f"cannot write to {folder}: {error.strerror}") from None
    return Stage(folder, config, contract, make_files(folder / "data", cities), cities)


def _is_ours(config: Path) -> bool:
    return config.is_file() and config.read_text("utf-8", errors="replace").startswith(MARK)


def _remove(folder: Path) -> None:
    from recordgate.embedded import EmbeddedPostgres

    remove_leftovers(folder / "recordgate.toml")
    EmbeddedPostgres(folder).remove()
    shutil.rmtree(folder)
