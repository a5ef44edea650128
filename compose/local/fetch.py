"""Fetches what a server is made of, once, with Maven from its `pom.xml`; finds Java."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from compose.local.process import UNPRIVILEGED, ServerProblem

HERE = Path(__file__).parent
SHARED = Path("/var/lib/recordgate/servers")
"""The folder of servers where root has the project in a folder that only root may enter."""


def servers_dir() -> Path:
    """Return the folder that servers are kept in: RECORDGATE_TEST_SERVERS_DIR, else `.servers`
    beside the project's files, else SHARED: Elasticsearch refuses root, and the account it runs as
    has to reach its own programs."""
    named = os.environ.get("RECORDGATE_TEST_SERVERS_DIR")
    if named:
        return Path(named)
    project = HERE.parents[1]
    return project / ".servers" if enterable(project) else SHARED


@cache
def enterable(folder: Path) -> bool:
    """Return whether the account that servers run as can enter `folder`. It is ours where we are
    not root."""
    if os.geteuid() != 0:
        return True
    done = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        user=UNPRIVILEGED,
        group=UNPRIVILEGED,
        extra_groups=[],
    )
    return done.returncode == 0


@cache
def java_home(at_least: int) -> Path:
    """The oldest Java that is new enough, so that one machine's servers share one."""
    roots = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    for folder in ("/usr/lib/jvm", "/opt/java", "/Library/Java/JavaVirtualMachines"):
        roots += sorted(Path(folder).glob("*")) if Path(folder).is_dir() else []
    on_path = shutil.which("java")
    if on_path:
        roots.append(Path(on_path).resolve().parents[1])
    found: list[tuple[int, Path]] = []
    for root in roots:
        java = root / "bin" / "java"
        if (root / "bin" / "javac").exists() and java.exists():
            said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
            version = re.search(r'version "(\d+)', said.stderr)
            if version and int(version[1]) >= at_least:
                found.append((int(version[1]), root))
    if not found:
        raise ServerProblem(f"no Java development kit {at_least} or newer was found")
    return min(found)[1]


def fetch(name: str) -> Path:
    """The folder with `name`'s files, fetched when it is not there; one process at a time."""
    target = servers_dir() / name
    if (target / ".ready").exists():
        return target
    if shutil.which("mvn") is None:
        raise ServerProblem("Maven (`mvn`) is not installed")
    target.mkdir(parents=True, exist_ok=True)
    with (servers_dir() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / ".ready").exists():
            done = subprocess.run(
                [
                    "mvn",
                    *_repository(),
                    "-q",
                    "-B",
                    "-f",
                    str(HERE / name / "pom.xml"),
                    "package",
                    f"-Dtarget={target}",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                last = [line for line in done.stdout.splitlines() if "ERROR" in line][:1]
                raise ServerProblem(f"{name} could not be fetched: {last or 'see mvn'}")
            (target / ".ready").touch()
    return target


def _repository() -> list[str]:
    """Maven's own folder is in the account's home; an account without one gets it beside the
    servers."""
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    return [] if os.access(home, os.W_OK) else [f"-Dmaven.repo.local={servers_dir() / 'm2'}"]


def compile_java(source: Path, classpath: str, target: Path, home: Path) -> None:
    """Compile one source file of ours into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [str(home / "bin" / "javac"), "-nowarn", "-d", str(target), "-cp", classpath, str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerProblem(f"{source.name} does not compile: {done.stderr[:500]}")
