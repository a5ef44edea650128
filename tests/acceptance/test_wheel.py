"""The wheel holds all that the product needs: installed elsewhere, it runs the demo's tour."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from gateway.endpoints import assets

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what belongs to the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(
        ROOT,
        source,
        symlinks=True,
        ignore=lambda _, names: [n for n in names if n.startswith(".") or n == "__pycache__"],
    )
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_migrations_lie_inside_recordgate_and_nothing_takes_a_common_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "recordgate/migrations/versions/r0001_platform_tables.py" in names
    assert "recordgate/py.typed" in names
    assert {f"gateway/endpoints/static/{name}" for name in assets.NAMES} <= set(names)
    assert "gateway/endpoints/static/vendor/LICENSE.graphiql" in names
    assert any(n.endswith("licenses/LICENSE") for n in names)
    top = {n.split("/")[0] for n in names if ".dist-info/" not in n}
    assert top == {"recordgate", "stores", "sync", "gateway"}


def test_the_demo_runs_from_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    # Root's folders are closed to the account that the embedded Postgres runs as.
    home = Path(tmp_path.anchor, "tmp", f"recordgate-wheel-{os.getpid()}")
    home.mkdir(mode=0o711)
    try:
        venv.create(home / "venv", with_pip=False, symlinks=True)
        site = home / "venv" / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
        zipfile.ZipFile(wheel).extractall(site)
        # What it depends on is the test's own: nothing is fetched here. Packages there come after
        # the wheel's.
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        program = [str(home / "venv" / "bin" / "python"), "-m", "recordgate"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        where = subprocess.run(
            [program[0], "-c", "import recordgate.migrations.run as m; print(m.__file__)"],
            cwd=home, env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert where.stdout.startswith(str(site))
        tour = subprocess.run(
            [*program, "demo", "--check", "--cities", "3000", "--data-dir", str(home / "data")],
            cwd=home, env=environment, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert tour.returncode == 0, tour.stdout + tour.stderr
        assert "the tour passed" in tour.stdout
    finally:
        shutil.rmtree(home, ignore_errors=True)
