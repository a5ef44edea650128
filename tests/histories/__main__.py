"""Histories by hand: `soak` plays fresh ones for as long as asked, `replay` one from its script,
`shorten` looks for the shortest part of a script that still fails. Exit 0: no difference; 1: one
was found."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from compose.local import servers
from recordgate.embedded import EmbeddedPostgres
from tests.conftest import FAST, url_of
from tests.histories.machine import HistoryFailed, Player, Tally, fresh_seed, shortest
from tests.histories.stage import Stage, stage
from tests.histories.steps import play_all, read_script, write_script

AT_ONCE = 10
"""Histories of one seed."""
TELL = 10.0
"""Seconds between two lines of progress."""


def main() -> int:
    options = _options()
    with _standing(real=options.servers) as found:
        if options.command == "soak":
            return _soak(found, options)
        steps = read_script(options.file)
        if options.command == "replay":
            return _replay(found, steps, options.times)
        short, error = shortest(found, steps, options.seconds)
        if error is None:
            print("it does not fail", file=sys.stderr)
            return 0
        file = options.file.with_suffix(".short.history")
        write_script(file, short, str(error))
        print(file.read_text())
        return 1


def _soak(found: Stage, options: argparse.Namespace) -> int:
    scripts = Path(options.scripts)
    scripts.mkdir(parents=True, exist_ok=True)
    began = told = time.monotonic()
    tally = Tally()

    def tell() -> None:
        nonlocal told
        if time.monotonic() - told > TELL:
            told = time.monotonic()
            print(_line(found, tally, began), file=sys.stderr, flush=True)

    player = Player(found, scripts, "", tally, tell, rare=True)
    failures = 0
    while (
        tally.histories < options.histories
        if options.histories
        else time.monotonic() - began < 60 * options.minutes
    ):
        number = options.seed or fresh_seed()
        options.seed = 0
        try:
            player.play(number, min(AT_ONCE, options.histories or AT_ONCE))
        except HistoryFailed as error:
            failures += 1
            print(f"seed {number}: {error}", flush=True)
        except KeyboardInterrupt:
            break
        except BaseException as error:
            print(f"seed {number}: {type(error).__name__}: {error}", flush=True)
            raise
    print(_line(found, tally, began))
    return 1 if failures else 0


def _line(found: Stage, tally: Tally, began: float) -> str:
    return (
        f"{tally.histories} histories, {found.changes} changes ({found.refused} refused), {found.kills} kills,"
        f" {tally.steps['ask']} reloads and rollbacks, {tally.steps['gap']} gaps,"
        f" {found.compared} documents compared, {tally.differences} differences, {time.monotonic() - began:.0f} s"
    )


def _replay(found: Stage, steps: list[list[object]], times: int) -> int:
    for turn in range(times):
        try:
            play_all(found, steps)
        except AssertionError as error:
            print(f"turn {turn + 1}: {error}\nthe worker's log: {found.folder}/worker.log")
            return 1
    print(f"played {times} times: every store equals canonical")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--servers", action="store_true", help="Elasticsearch and MongoDB, not the embedded pair"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    soak = commands.add_parser("soak", parents=[common])
    soak.add_argument("--minutes", type=float, default=5.0)
    soak.add_argument("--histories", type=int, default=0, help="so many, however long it takes")
    soak.add_argument("--seed", type=int, default=0, help="the first one; else a fresh one")
    soak.add_argument(
        "--scripts", default="soak-failures", help="where scripts of failing histories go"
    )
    replay = commands.add_parser("replay", parents=[common])
    replay.add_argument("file", type=Path)
    replay.add_argument("--times", type=int, default=5)
    shorten = commands.add_parser("shorten", parents=[common])
    shorten.add_argument("file", type=Path)
    shorten.add_argument("--seconds", type=float, default=300.0)
    return parser.parse_args()


@contextmanager
def _standing(*, real: bool) -> Iterator[Stage]:
    """A stage on a Postgres of its own."""
    folder = Path(tempfile.mkdtemp(prefix="recordgate-histories-"))
    folder.chmod(0o711)
    postgres = EmbeddedPostgres(folder / "postgres", FAST)
    work = folder / "work"
    work.mkdir()
    try:
        url = postgres.start()
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("CREATE DATABASE histories")
        with (
            _stores(folder, real) as stores,
            stage(url_of(url, "histories"), work, stores=stores) as found,
        ):
            found.start()
            found.wait()
            yield found
    finally:
        postgres.release()
        postgres.wait_stopped()
        postgres.remove()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _stores(folder: Path, real: bool) -> Iterator[dict[str, str] | None]:
    """URLs of servers that run as long as the block; None for the embedded pair."""
    if not real:
        yield None
        return
    started = []
    try:
        elasticsearch, http = servers.start_elasticsearch(folder / "elasticsearch")
        started.append(elasticsearch)
        mongodb, url = servers.start_mongodb(folder / "mongodb", heap="1g")
        started.append(mongodb)
        yield {
            "search": http.replace("http", "elasticsearch", 1) + "/histories",
            "documents": f"{url}/histories",
        }
    finally:
        for process in started:
            process.stop()


if __name__ == "__main__":
    sys.exit(main())
