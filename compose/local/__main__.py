"""`make servers` and `make servers-stop`: the real servers as plain processes that stay.

`python -m compose.local up [NAME…]` starts them and prints their URLs; `restart NAME…` starts one
that was killed again, at its port and with its folder; `down` stops what `up` started, by its ids;
`status` says which are alive. Names: elasticsearch, mongodb, kafka (with Connect); for `restart`
connect, too.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

from compose.local import servers
from compose.local.fetch import HERE, servers_dir
from compose.local.process import Process, ServerProblem

NAMES = ("elasticsearch", "mongodb", "kafka")
ORDER = (*NAMES, "connect")


class Entry(TypedDict):
    """A server as `servers.json` has it. `restart`: the command that starts it again, run in
    `folder`."""

    pid: int
    url: str
    restart: list[str]
    folder: str


def run_dir() -> Path:
    """Where servers run: RECORDGATE_TEST_SERVERS_RUN, else `run` where they are kept."""
    named = os.environ.get("RECORDGATE_TEST_SERVERS_RUN")
    return Path(named) if named else servers_dir() / "run"


def listed() -> dict[str, Entry]:
    """What `up` started, dead or alive."""
    path = run_dir() / "servers.json"
    found: dict[str, Entry] = json.loads(path.read_text()) if path.exists() else {}
    return found


def process_of(name: str, entry: Entry) -> Process:
    return Process(name, run_dir() / name, entry["pid"])


def known() -> dict[str, Entry]:
    """What `up` started, as far as it is alive."""
    return {name: entry for name, entry in listed().items() if process_of(name, entry).alive()}


def remember(entries: dict[str, Entry]) -> None:
    """Written aside and renamed: another process may read it at any time."""
    run_dir().mkdir(parents=True, exist_ok=True)
    part = run_dir() / "servers.json.part"
    part.write_text(json.dumps(entries, indent=2) + "\n")
    part.replace(run_dir() / "servers.json")


def start(name: str, entries: dict[str, Entry], port: int | None = None) -> Entry:
    """Start one with its folder, at `port` where that is given."""
    folder = run_dir() / name
    if name == "elasticsearch":
        process, url = servers.start_elasticsearch(folder, port=port)
        url = url.replace("http://", "elasticsearch://")
    elif name == "mongodb":
        process, url = servers.start_mongodb(folder, port=port)
        url += "/recordgate"
    elif name == "kafka":
        process, bootstrap = servers.start_kafka(folder, port=port)
        url = f"kafka://{bootstrap}/"
    else:
        bootstrap = entries["kafka"]["url"].removeprefix("kafka://").rstrip("/")
        process, url = servers.start_connect(folder, bootstrap, port=port)
    again = [sys.executable, "-m", "compose.local", "restart", name]
    return Entry(pid=process.pid, url=url, restart=again, folder=str(HERE.parents[1]))


def up(names: tuple[str, ...]) -> None:
    entries = known()
    wanted = [n for n in ORDER if n in names or (n == "connect" and "kafka" in names)]
    for name in wanted:
        if name in entries:
            print(f"{name:14} {entries[name]['url']}  (already there)")
            continue
        entries[name] = start(name, entries)
        remember(entries)
        print(f"{name:14} {entries[name]['url']}  (pid {entries[name]['pid']})", flush=True)


def restart(names: tuple[str, ...]) -> None:
    """Kill what still runs, and start it as it was."""
    entries = listed()
    for name in names:
        if name not in entries:
            raise ServerProblem(f"{name} was not started by `up`")
        process_of(name, entries[name]).kill()
        port = urlsplit(entries[name]["url"]).port
        entries[name] = start(name, entries, port)
        remember(entries)
        print(f"{name:14} {entries[name]['url']}  (pid {entries[name]['pid']})", flush=True)


def down() -> None:
    for name, entry in reversed(known().items()):
        process_of(name, entry).stop()
        print(f"{name:14} stopped")
    remember({})


def main(arguments: list[str]) -> int:
    command, *names = arguments or ["status"]
    unknown = set(names) - set(ORDER if command == "restart" else NAMES)
    if command not in ("up", "restart", "down", "status") or unknown:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if command == "up":
            up(tuple(names) or NAMES)
        elif command == "restart":
            restart(tuple(names))
        elif command == "down":
            down()
        else:
            print(json.dumps(known(), indent=2))
    except ServerProblem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
