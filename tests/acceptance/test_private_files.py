"""Whatever recordgate keeps on the disk is its owner's alone: new files, and what an earlier
version left open."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recordgate.embedded import EmbeddedPostgres
from recordgate.private_data import open_access_log
from stores import local_state, private_files
from tests.acceptance.gateway_rig import GEONAMES
from tests.acceptance.test_up import WAIT, started

OPEN = 0o077


def open_to_others(top: Path) -> dict[str, str]:
    """Path below `top` → mode, of all that another account may read, write or enter."""
    found = {}
    for path in [top, *sorted(top.rglob("*"))]:
        mode = path.lstat().st_mode
        if mode & OPEN and not stat.S_ISLNK(mode):
            found[str(path.relative_to(top))] = oct(stat.S_IMODE(mode))
    return found


@pytest.fixture
def home() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="recordgate-test-"))
    place.chmod(0o711)  # the account that the embedded server runs as has to pass
    try:
        yield place
    finally:
        EmbeddedPostgres(place / "data").remove()
        shutil.rmtree(place)


def left_open(data_dir: Path) -> None:
    """What an earlier version left, with the modes that it gave."""
    for folder in ("exports", "search", "search/city-1/7/index"):
        (data_dir / folder).mkdir(parents=True)
    local_state.connect(data_dir / "documents.sqlite").close()
    for name in ("exports/old.data", "exports/old.json", "search/city-1/7/index/meta.json"):
        (data_dir / name).write_text("{}")
    (data_dir / "api_keys.json").write_text('{"keys": []}')
    (data_dir / "notes.txt").write_text("the user's own")
    for path in [data_dir, *data_dir.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_nothing_of_a_running_embedded_product_is_open_to_another_account(home: Path) -> None:
    contract = home / "contract.odcs.yaml"
    contract.write_text(GEONAMES.read_text("utf-8"))
    config = home / "recordgate.toml"
    config.write_text(
        'contract = "contract.odcs.yaml"\npostgres = "embedded:"\ndata_dir = "data"\nport = 0\n'
        f"access_log = {json.dumps(str(home / 'data' / 'access.log'))}\n"
    )
    left_open(home / "data")
    old = os.umask(0)  # no help from the account's own
    try:
        with started(config, "up") as up:
            written = up.graphql(
                'mutation { createCountry(input: {iso: "FR", iso3: "FRA", name: "France",'
                ' continent: "EU", population: 1, areaKm2: 1.5, languages: ["fr"]}) { token } }'
            )
            token = written["data"]["createCountry"]["token"]
            seen = up.graphql(
                '{ country(id: "FR") { name } searchCountries(query: "france") { nodes { iso } } }',
                **WAIT,
                **{"Recordgate-Token": token},
            )
            assert seen["data"]["searchCountries"] == {"nodes": [{"iso": "FR"}]}
            assert b"France" in up.get("/export/country?format=ndjson")
            found = open_to_others(home / "data")
            names = {str(p.relative_to(home / "data")) for p in (home / "data").rglob("*")}
            assert up.stop() == 0
    finally:
        os.umask(old)
    allowed = {
        ".": "0o755",  # was there before us, and may be the product's own folder
        "notes.txt": "0o644",  # not ours
    }
    if os.geteuid() == 0:  # the server's account passes through to its cluster, which is closed
        allowed["postgres"] = "0o711"
    assert found == allowed
    parts = (
        "documents.sqlite-wal",
        "access.log",
        "token.secret",
        "postgres/data/base",
        "exports/old.data",
    )
    assert names.issuperset(parts)
    assert any(name.startswith("search/") and name.endswith(".store") for name in names)


def test_what_is_deleted_from_a_sqlite_file_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "documents.sqlite"
    connection = local_state.connect(path)
    connection.execute("CREATE TABLE t (document TEXT)")
    connection.execute("INSERT INTO t VALUES ('a secret of somebody')")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"a secret of somebody" in path.read_bytes()
    connection.execute("DELETE FROM t")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"a secret of somebody" not in path.read_bytes()
    connection.close()


def test_making_a_file_private_ends_no_lock_of_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "books.writer"
    lock = local_state.hold_writer_lock(path, "sqlite")

    def locked() -> bool:
        """As another process sees it: SQLite keeps books of its own inside of one."""
        inode = str(path.stat().st_ino)
        lines = Path("/proc/locks").read_text("ascii").splitlines()
        return any(str(os.getpid()) in x.split() and x.split()[5].endswith(inode) for x in lines)

    assert locked()
    private_files.create(path)
    private_files.tighten(path)
    assert locked()
    lock.close()


def test_an_access_log_keeps_its_group_and_is_closed_to_everybody(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    open_access_log(log).close()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.chmod(0o644)
    open_access_log(log).close()
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    with open_access_log(Path(os.devnull)) as device:
        device.write(b"taken\n")
    assert Path(os.devnull).stat().st_mode & 0o666 == 0o666


def test_a_link_is_not_followed_and_what_is_gone_is_no_matter(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("")
    target.chmod(0o644)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(target)
    private_files.tighten_tree(tmp_path / "folder")
    private_files.tighten_tree(tmp_path / "missing")
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
