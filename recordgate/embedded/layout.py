"""The files of an embedded server, below DATA_DIR/postgres, and the record of its launch."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stores.errors import SetupError
from stores.private_files import make_folder

SUPERUSER = "recordgate"
DATABASE = "recordgate"


def home_mode() -> int:
    """Return the mode of folders above a cluster: the server's account may pass through root's,
    but not list them."""
    return 0o711 if os.geteuid() == 0 else 0o700


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths inside one data folder. All but the cluster belong to the account that invoked
    us."""

    home: Path

    @classmethod
    def of(cls, data_dir: Path) -> Layout:
        return cls(data_dir.absolute() / "postgres")

    @property
    def users_lock(self) -> Path:
        return self.home / "users.lock"

    @property
    def start_lock(self) -> Path:
        return self.home / "start.lock"

    @property
    def supervisor_lock(self) -> Path:
        return self.home / "supervisor.lock"

    @property
    def password(self) -> Path:
        return self.home / "password"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def launch(self) -> Path:
        return self.home / "launch.json"

    @property
    def data(self) -> Path:
        """The cluster, unless the launch record points elsewhere."""
        return self.home / "data"

    def make(self) -> None:
        """Make the folder and those above it. Root leaves them traversable, for the account that
        the server runs as; what is secret in it has modes of its own. Folders that are there
        keep their modes."""
        try:
            make_folder(self.home, home_mode())
        except OSError as error:
            raise SetupError(
                f"cannot make {self.home}: {error.strerror}",
                hint="set data_dir to a folder that this account may write to",
            ) from error
        if not os.access(self.home, os.W_OK | os.X_OK):
            raise SetupError(
                f"{self.home} is not writable for this account",
                hint="run recordgate as the account that created it, or set another data_dir",
            )


@dataclass(frozen=True, slots=True)
class Launch:
    """The values that the supervisor needs to run the server, and a user to reach it."""

    data: str
    socket: str
    """Folder of the socket."""
    binaries: str
    uid: int
    gid: int
    settings: dict[str, str] = field(default_factory=dict)


def read_launch(layout: Layout) -> Launch | None:
    """Return the record of the last launch, or None."""
    try:
        return Launch(**json.loads(layout.launch.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise SetupError(
            f"{layout.launch} cannot be read",
            hint="remove the file: it is created again, and the data are kept",
        ) from error


def write_launch(layout: Layout, launch: Launch) -> None:
    write_private(layout.launch, json.dumps(asdict(launch), indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all."""
    staging = path.with_name(f"{path.name}.new-{os.getpid()}")
    fd = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
