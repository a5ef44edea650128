"""The pages in a real browser: what they show is what the API says, to whom the roles say; nothing of a record or a
contract is ever taken for markup; no request leaves for another host, and no policy is broken on the way.

Debian's Chromium is driven; without it the tests are skipped, but not in CI. Each run leaves its pictures in
`build/pictures`, or in the folder that RECORDGATE_PICTURES names.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import pytest

from tests.conftest import fresh_database
from tests.pages_world import ODD_KEYS, Site, odd, places

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
PICTURES = Path(
    os.environ.get("RECORDGATE_PICTURES") or Path(__file__).parents[2] / "build/pictures"
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, NARROW = {"width": 1180, "height": 800}, {"width": 400, "height": 800}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="Chromium is not installed"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "CI has to install Chromium: see .ci/run"
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def world(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with fresh_database(postgres) as url, places(url, tmp_path_factory.mktemp("places")) as found:
        yield found


@pytest.fixture(scope="module")
def shop(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with fresh_database(postgres) as url, odd(url, tmp_path_factory.mktemp("odd")) as found:
        yield found


@dataclass
class Watched:
    """A tab, and whatever it did that no page may."""

    page: Page
    site: Site
    troubles: list[str] = field(default_factory=list)

    def open(self, path: str) -> int:
        answer = self.page.goto(self.site.url + path)
        assert answer is not None
        return answer.status

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()


@contextmanager
def tab(
    browser: Browser, site: Site, key: str = "", viewport: Any = None, scheme: Any = "light", **more: Any
) -> Iterator[Watched]:
    """A tab whose troubles fail the test: errors and refusals in its console, requests to other hosts, a title that
    a script took."""
    given = {"username": "any", "password": key} if key else None
    context = browser.new_context(
        viewport=viewport or WIDE, color_scheme=scheme, http_credentials=given, **more
    )
    page = context.new_page()
    page.set_default_timeout(8_000)
    watched = Watched(page, site)
    host = urlsplit(site.url).netloc

    def asked(request: Any) -> None:
        to = urlsplit(request.url)
        if to.scheme != "data" and to.netloc != host:
            watched.troubles.append(f"asked {request.url}")

    def logged(message: Any) -> None:
        # What the test itself asks for and is refused is an error to the browser's console.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            watched.troubles.append(message.text)

    page.on("request", asked)
    page.on("console", logged)
    page.on("pageerror", lambda error: watched.troubles.append(str(error)))
    try:
        yield watched
        assert "taken" not in page.title()
        assert watched.troubles == []
    finally:
        context.close()


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(value) or "(empty list)"
    return str(value) or "(empty)"


def rows(watched: Watched) -> list[list[str]]:
    found = watched.page.locator("tbody tr:not(.marks)")
    return found.evaluate_all("rows => rows.map(r => [...r.cells].map(c => c.innerText))")


PAGES = {
    "landing": "/",
    "list": "/browse/city?population.gte=1000000&sort=-population",
    "search": "/browse/city?q=san",
    "record": "/browse/country/FR",
    "refused": "/browse/city?population.gte=many",
    "graphiql": "/graphql",
    "console": "/console",
}


@pytest.mark.parametrize("form", ["light", "dark", "narrow"])
def test_no_page_scrolls_sideways_and_each_leaves_a_picture(
    browser: Browser, world: Site, form: str
) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    viewport = NARROW if form == "narrow" else WIDE
    with tab(browser, world, viewport=viewport, scheme="dark" if form == "dark" else "light") as it:
        for name, path in PAGES.items():
            it.open(path)
            if name == "graphiql":
                it.page.wait_for_selector(".graphiql-editors .CodeMirror")
                it.page.get_by_role("button", name="Execute query").click()
                it.page.wait_for_selector(".result-window >> text=pageInfo")
            if name == "console":
                it.page.wait_for_selector("#stores td")
            it.page.screenshot(path=PICTURES / f"{name}-{form}.png")
            width = it.page.evaluate("document.documentElement.scrollWidth")
            assert width <= viewport["width"], f"{name} is {width} wide"
