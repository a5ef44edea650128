"""`make site`: every page is in the site, every link leads somewhere, and a reader's browser asks
nobody else."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ELSEWHERE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
STYLE_ELSEWHERE = re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", re.IGNORECASE)


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        self.classes |= set(values.get("class", "").split())
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and "href" in values:
            self.loads.append(values["href"])
        self.loads += [
            values[name] for name in ("src", "srcset", "data", "poster") if name in values
        ]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Run what `make site` runs."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)],
        cwd=root,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """By its path in the site."""
    return {
        str(path.relative_to(site)): Page(path.read_text("utf-8")) for path in site.rglob("*.html")
    }


def test_every_page_is_in_the_site_and_in_its_navigation(pages: dict[str, Page]) -> None:
    written = {str(p.relative_to(DOCS).with_suffix(".html")) for p in DOCS.rglob("*.md")}
    assert written == set(pages) - {"404.html"}
    assert written <= set(pages["index.html"].links) | {"index.html"}


def test_every_link_of_the_site_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    broken = []
    for name, page in pages.items():
        if name == "404.html":  # its links are absolute: it is shown under any path
            continue
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = unquote(parts.path)
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
            target = target if path else name
            there = (site / target).exists()
            if there and target in pages:
                there = unquote(parts.fragment) in pages[target].ids | {""}
            if not there:
                broken.append(f"{name}: {link}")
    assert broken == []


def test_a_reader_s_browser_loads_nothing_from_elsewhere(
    site: Path, pages: dict[str, Page]
) -> None:
    for name, page in pages.items():
        assert [load for load in page.loads if ELSEWHERE.match(load)] == [], name
        # The theme's script fetches a renderer from elsewhere for these alone.
        assert "mermaid" not in page.classes, name
    sheets = [*site.rglob("*.css"), *site.rglob("*.html")]
    assert [s.name for s in sheets if STYLE_ELSEWHERE.search(s.read_text("utf-8"))] == []


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (tmp_path / "docs" / "glossary.md").write_text("# Glossary\n\n[gone](reference/nothing.md)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "reference/nothing.md" in done.stderr


def test_what_pages_tell_to_save_shows_the_file_s_name(site: Path) -> None:
    text = (site / "tutorial" / "first-product.html").read_text("utf-8")
    assert 'class="filename">library.odcs.yaml<' in text
    assert "```" not in text
