"""`make servers` and `make servers-stop`: the real servers as plain processes that stay.

`python -m compose.local up [NAME…]` starts them and prints their URLs; `down` stops what `up` started,
by its ids; `status` says which are alive. Names: elasticsearch, mongodb, kafka (with Connect).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from compose.local import servers
from compose.local.fetch import servers_dir
from compose.local.process import Process, ServerProblem

NAMES = ("elasticsearch", "mongodb", "kafka")


def run_dir() -> Path:
    return servers_dir() / "run"


def known() -> dict[str, dict[str, str | int]]:
    """What `up` started: name → pid and url, as far as it is alive."""
    path = run_dir() / "servers.json"
    listed = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: entry
        for name, entry in listed.items()
        if Process(name, run_dir() / name, int(entry["pid"])).alive()
    }


def remember(entries: dict[str, dict[str, str | int]]) -> None:
    run_dir().mkdir(parents=True, exist_ok=True)
    (run_dir() / "servers.json").write_text(json.dumps(entries, indent=2) + "\n")


def up(names: tuple[str, ...]) -> None:
    entries = known()

    def add(name: str, process: Process, url: str) -> None:
        entries[name] = {"pid": process.pid, "url": url}
        remember(entries)
        print(f"{name:14} {url}  (pid {process.pid})", flush=True)

    for name in names:
        folder = run_dir() / name
        if name in entries:
            print(f"{name:14} {entries[name]['url']}  (already there)")
        elif name == "elasticsearch":
            process, url = servers.start_elasticsearch(folder)
            add(name, process, url.replace("http://", "elasticsearch://"))
        elif name == "mongodb":
            process, url = servers.start_mongodb(folder)
            add(name, process, f"{url}/recordgate")
        else:
            process, bootstrap = servers.start_kafka(folder)
            add(name, process, f"kafka://{bootstrap}/")
        if name == "kafka" and "connect" not in entries:
            bootstrap = str(entries["kafka"]["url"]).removeprefix("kafka://").rstrip("/")
            add("connect", *servers.start_connect(run_dir() / "connect", bootstrap))


def down() -> None:
    for name, entry in reversed(known().items()):
        Process(name, run_dir() / name, int(entry["pid"])).stop()
        print(f"{name:14} stopped")
    remember({})


def main(arguments: list[str]) -> int:
    command, *names = arguments or ["status"]
    unknown = set(names) - set(NAMES)
    if command not in ("up", "down", "status") or unknown:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if command == "up":
            up(tuple(names) or NAMES)
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
