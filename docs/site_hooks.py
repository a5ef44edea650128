"""Hooks of MkDocs. The navigation follows the folders; links that leave docs/ lead to files of the
repository, which the site does not hold, so they are shown as the files' names; a block's
`file=NAME` becomes its title."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

SECTIONS = {
    "Tutorial": "tutorial",
    "How-to": "howto",
    "Reference": "reference",
    "Explanation": "explanation",
    "Decisions": "decisions",
}
"""Title → folder, in the order of the navigation. Pages of a folder come in the order of their
titles."""
FIRST = ("architecture.md",)
LAST = ("glossary.md", "style.md")
"""Pages beside index.md that lie in no folder."""
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)#]+)(?:#[^)]*)?\)")
_FENCE = re.compile(r"^```(\w+) (file=.+)$", re.MULTILINE)
_OPTION = re.compile(r'(\w+)=("[^"]*"|\S+)')


def on_config(config: Any) -> Any:
    docs = Path(config["docs_dir"])
    nav: list[Any] = [{"Home": "index.md"}]
    for title, folder in SECTIONS.items():
        pages = sorted((docs / folder).glob("*.md"), key=_order)
        nav.append({title: [f"{folder}/{page.name}" for page in pages]})
    config["nav"] = [*nav, *LAST]
    return config


def _order(page: Path) -> tuple[bool, str]:
    head = page.read_text("utf-8").partition("\n")[0]
    return page.name not in FIRST, head.casefold()


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    folder = posixpath.dirname(page.file.src_uri)

    def shown(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link.group(2)))
        if not target.startswith("../"):
            return link.group(0)
        name = target.removeprefix("../")
        text = link.group(1)
        return f"`{name}`" if text.strip("`") == name else f"{text} (`{name}`)"

    return _FENCE.sub(_titled, _LINK.sub(shown, markdown))


def _titled(fence: re.Match[str]) -> str:
    options = {name: value.strip('"') for name, value in _OPTION.findall(fence.group(2))}
    title = options["file"]
    for place in ("above", "below"):
        if place in options:
            title += f", {place} the line {options[place]}…"
    return f'```{fence.group(1)} title="{title}"'
