"""The state of canonical that a gateway last saw, kept in data_dir: a gateway that is started while
canonical is away answers what the stores can, with the lineage that their positions are judged by.

It is believed for the same contract and the same address only. A store's position names its
database itself, so a file that is wrong makes the stores untrusted, and never an answer wrong.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stores import private_files
from stores.contract.model import Contract
from stores.lineage import Lineage, forks_of

log = logging.getLogger("recordgate")

FILE = "canonical.json"


@dataclass(frozen=True, slots=True)
class LastCanonical:
    """`bytewise`: whether canonical orders text by its bytes."""

    lineage: Lineage
    bytewise: bool


def remember(data_dir: Path, contract: Contract, url: str, seen: LastCanonical) -> None:
    """Keep `seen`. A disk that takes nothing is logged and does not stop the gateway."""
    text = json.dumps(
        {
            "contract": contract.id,
            "address": _address(url),
            "system": seen.lineage.system,
            "timeline": seen.lineage.timeline,
            "first": seen.lineage.first,
            "forks": [list(fork) for fork in seen.lineage.forks],
            "bytewise": seen.bytewise,
        }
    )
    path = data_dir / FILE
    draft = path.with_name(f"{FILE}.{os.getpid()}")
    try:
        private_files.make_folder(data_dir)
        if _text(path) == text:
            return
        with open(draft, "w", opener=private_files.opener) as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error.strerror)
        with suppress(OSError):
            draft.unlink()


def recall(data_dir: Path, contract: Contract, url: str) -> LastCanonical | None:
    """Return what was kept for this contract and address; None where nothing was, or it cannot be
    read."""
    try:
        kept = json.loads(_text(data_dir / FILE) or "null")
        if kept is None or (kept["contract"], kept["address"]) != (contract.id, _address(url)):
            return None
        lineage = Lineage(
            str(kept["system"]), int(kept["timeline"]), forks_of(kept["forks"]), int(kept["first"])
        )
        return LastCanonical(lineage, bool(kept["bytewise"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _text(path: Path) -> str:
    """The file's text; empty where there is none."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""


def _address(url: str) -> str:
    """A digest of where `url` leads to, without who asks."""
    parts = urlsplit(url)
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    return hashlib.sha256(place.encode()).hexdigest()[:32]
