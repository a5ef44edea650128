"""A hook of MkDocs: links that leave docs/ lead to files of the repository, which the site does not hold; they are
shown as the files' names."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    folder = posixpath.dirname(page.file.src_uri)

    def shown(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link.group(2)))
        if not target.startswith("../"):
            return link.group(0)
        name = target.removeprefix("../")
        text = link.group(1)
        return f"`{name}`" if text.strip("`") == name else f"{text} (`{name}`)"

    return _LINK.sub(shown, markdown)
