"""The files of a contract, mended in place: each is written whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from stores.contract.findings import Findings
from stores.contract.fixing import Fix, fix_texts
from stores.contract.lint import contract_files
from stores.contract.yaml_source import SourceError, read_text
from stores.errors import SetupError

BOM = b"\xef\xbb\xbf"


def fix_file(path: Path) -> list[Fix]:
    """Mend a contract, of a file or a folder, and return what was changed. What cannot be read is
    left to the linter. Raises SetupError where a file cannot be written."""
    texts: dict[str, str] = {}
    for file in contract_files(path, Findings()):
        try:
            texts[str(file)] = read_text(file)
        except SourceError:
            return []
    fixed = fix_texts(texts)
    for name, text in fixed.texts.items():
        if text != texts[name]:
            _replace(Path(name), text)
    return list(fixed.fixes)


def _replace(path: Path, text: str) -> None:
    target = path.resolve()  # a link stays one
    draft = ""
    try:
        before = target.read_bytes()
        mode = target.stat().st_mode
        number, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(number, "wb") as file:
            file.write((BOM if before.startswith(BOM) else b"") + text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, mode & 0o7777)
        os.replace(draft, target)
    except OSError as error:
        with suppress(OSError):
            os.unlink(draft)
        raise SetupError(
            f"{path} cannot be written: {error.strerror}", hint="nothing of it was changed"
        ) from None
