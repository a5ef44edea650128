"""A process that uses the embedded server of a folder until its input ends: prints the URL, or the
error."""

import json
import resource
import sys
from pathlib import Path

from recordgate.embedded import EmbeddedPostgres
from stores.errors import SetupError


def main(folder: str, largest_file: str = "") -> None:
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file), int(largest_file)))
    server = EmbeddedPostgres(Path(folder), {"fsync": "off"})
    try:
        url = server.start()
    except SetupError as error:
        print(json.dumps({"error": error.message, "hint": error.hint}), flush=True)
        return
    print(json.dumps({"url": url}), flush=True)
    sys.stdin.read()
    server.release()


if __name__ == "__main__":
    main(*sys.argv[1:])
