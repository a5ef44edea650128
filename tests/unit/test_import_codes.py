"""Every code of a rejected row is documented, and no other."""

import re
from pathlib import Path

from stores.canonical.importing.codes import Reject

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "import-codes.md"


def test_every_code_is_documented() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert documented == {code.value for code in Reject}
