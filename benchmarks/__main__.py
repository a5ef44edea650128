"""`make bench [ONLY=name]`: runs each benchmark in a process of its own and prints its table.

A benchmark is a module here with `run() -> list[Row]`; what it measures is a ratio taken in one
run.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

NAMES = sorted(
    p.stem
    for p in Path(__file__).parent.glob("*.py")
    if not p.stem.startswith("_") and "def run(" in p.read_text("utf-8")
)


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] == "--one":
        module = __import__(f"benchmarks.{arguments[1]}", fromlist=["run"])
        module.run()
        return 0
    chosen = arguments or NAMES
    unknown = set(chosen) - set(NAMES)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
        return 2
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    failed = 0
    for name in chosen:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", "benchmarks", "--one", name], check=False)
        failed += done.returncode != 0
        print(flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
