"""The pages in a real browser: what they show is what the API says, to whom the roles say; nothing
of a record or a contract is ever taken for markup; no request leaves for another host, and no
policy is broken on the way.

Debian's Chromium is driven; without it the tests are skipped, but not in CI. Each run leaves its
pictures in `build/pictures`, or in the folder that RECORDGATE_PICTURES names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

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
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, NARROW = {"width": 1180, "height": 640}, {"width": 400, "height": 800}

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
    browser: Browser,
    site: Site,
    key: str = "",
    viewport: Any = None,
    scheme: Any = "light",
    **more: Any,
) -> Iterator[Watched]:
    """A tab whose troubles fail the test: errors and refusals in its console, requests to other
    hosts, a title that a script took."""
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
        assert page.title() != "taken"
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
                it.page.wait_for_selector(".result-window >> text=data")
            if name == "console":
                it.page.wait_for_selector("#stores td")
            it.page.screenshot(path=PICTURES / f"{name}-{form}.png")
            width = it.page.evaluate("document.documentElement.scrollWidth")
            assert width <= viewport["width"], f"{name} is {width} wide"


def test_a_table_is_what_graphql_says_page_by_page_in_both_directions(
    browser: Browser, world: Site
) -> None:
    answer = world.graphql(
        '{ countries(first: 1000, orderBy: [{population: DESC}], filter: {continent: {eq: "EU"}})'
        " { totalCount nodes { iso name iso3 capital continent population areaKm2 currency"
        " languages } } }"
    )
    found = answer["data"]["countries"]
    wanted = [[cell(v) for v in node.values()] for node in found["nodes"]]
    with tab(browser, world) as it:
        assert it.open("/browse/country?continent.eq=EU&sort=-population") == 200
        assert it.texts("#total") == [f"{found['totalCount']} records"]
        seen, pages = rows(it), 1
        while it.page.get_by_role("link", name="Next page").count():
            it.page.get_by_role("link", name="Next page").click()
            seen += rows(it)
            pages += 1
        assert [r[:8] for r in seen] == [r[:8] for r in wanted]
        assert pages == -(-found["totalCount"] // 20)
        it.page.get_by_role("link", name="Previous page").click()
        assert rows(it) == seen[(pages - 2) * 20 : (pages - 1) * 20]
        assert it.page.locator("th[aria-sort=descending]").inner_text() == "population ↓"
        assert it.texts("#source")[0].startswith("Answered by ")
        it.page.get_by_role("link", name="First page").click()
        assert rows(it) == seen[:20]


def test_words_and_facets_narrow_and_the_page_shows_the_very_query(
    browser: Browser, world: Site
) -> None:
    with tab(browser, world) as it:
        it.open("/")
        it.page.get_by_role("searchbox", name="Search cities").fill("san")
        it.page.keyboard.press("Enter")
        it.page.wait_for_url("**/browse/city?q=san")
        it.page.get_by_role("complementary", name="Facets").get_by_role("link", name="US").click()
        assert "countryCode.eq=US" in it.page.url
        found = world.graphql(
            '{ searchCities(query: "san", filter: {countryCode: {eq: "US"}}, first: 20)'
            " { totalCount nodes { geonameid name } } }"
        )["data"]["searchCities"]
        assert it.texts("#total") == [f"{found['totalCount']} records"]
        assert [r[:2] for r in rows(it)] == [
            [str(n["geonameid"]), n["name"]] for n in found["nodes"]
        ]
        assert it.page.locator("mark").first.inner_text().lower() == "san"
        it.page.get_by_text("The query behind this page").click()
        query = it.page.locator("#code-graphql").inner_text()
        variables = json.loads(it.page.locator("#code-variables").inner_text())
        again = world.graphql(query, variables)["data"]["searchCities"]
        assert [e["node"]["name"] for e in again["edges"]] == [n["name"] for n in found["nodes"]]
        command = it.page.locator("#code-curl").inner_text()
        told = subprocess.run(
            ["sh", "-c", command.replace("curl", "curl -s", 1)], capture_output=True, check=True
        )
        assert json.loads(told.stdout)["data"]["searchCities"] == again
        it.page.get_by_role("link", name="Open it in GraphiQL").click()
        it.page.wait_for_selector(".graphiql-editors .CodeMirror")
        it.page.get_by_role("button", name="Execute query").click()
        it.page.wait_for_selector(".result-window >> text=totalCount")


def test_a_download_has_what_the_conditions_leave(browser: Browser, world: Site) -> None:
    with tab(browser, world) as it:
        it.open("/browse/country?continent.eq=OC&population.gt=1000000")
        total = it.texts("#total")[0]
        with it.page.expect_download() as waiting:
            it.page.get_by_role("link", name="NDJSON").click()
        lines = Path(waiting.value.path()).read_text("utf-8").splitlines()
        assert total == f"{len(lines)} records"
        assert {json.loads(line)["continent"] for line in lines} == {"OC"}


def test_a_record_leads_to_its_relations_and_back(browser: Browser, world: Site) -> None:
    with tab(browser, world) as it:
        it.open("/browse/country/JP")
        assert it.texts("h1") == ["Japan"]
        shown = dict(zip(it.texts("dt"), it.texts("dd"), strict=True))
        assert shown["capital"] == "Tokyo"
        assert it.page.locator(".related li").count() == 5
        it.page.get_by_role("link", name="all of them").click()
        assert "countryCode.eq=JP" in it.page.url
        it.page.locator("tbody a.key").first.click()
        assert it.page.locator(".related a").inner_text() == "Japan"
        it.page.locator(".related a").click()
        assert it.page.url.endswith("/browse/country/JP")


def test_keys_of_any_spelling_have_a_page(browser: Browser, shop: Site) -> None:
    with tab(browser, shop, shop.keys["hr"]) as it:
        it.open("/browse/item?sort=number&size=50")
        links = it.page.locator("tbody a.key")
        addresses = links.evaluate_all("found => found.map(a => a.getAttribute('href'))")
        for key, address in zip(ODD_KEYS, addresses, strict=True):
            assert it.open(address) == 200
            assert it.page.locator("dd").first.text_content() == key
            # Its part has a key of two columns.
            part = it.page.locator(".related li a").first.get_attribute("href")
            assert it.open(part or "") == 200
            assert it.page.locator("dd").all_text_contents()[:2] == [key, "1"]
            assert it.page.locator("dd a").first.get_attribute("href") == address


def test_nothing_of_a_contract_a_record_or_an_address_is_taken_for_markup(
    browser: Browser, shop: Site
) -> None:
    hostile = (
        "<script>document.title='taken'</script>\"'><img src=x onerror=document.title='taken'>"
    )
    given = quote(hostile, safe="")
    with tab(browser, shop, shop.keys["hr"]) as it:
        for path, status in (
            ("/", 200),
            ("/browse/item", 200),
            (f"/browse/item?q={given}", 200),
            (f"/browse/item?title.eq={given}", 200),
            (f"/browse/item?{given}=1", 400),
            (f"/browse/item?sort={given}", 400),
            (f"/browse/item?number.eq={given}", 400),
            (f"/browse/item?after={given}", 400),
            (f"/browse/{given}", 404),
            (f"/browse/item/{given}", 404),
            (f"/browse/item/{quote(ODD_KEYS[6], safe='')}", 200),
            ("/graphql", 200),
        ):
            assert it.open(path) == status, path
            assert it.page.locator("img, iframe, object, [onerror], body script").count() == 0
            if status != 200:
                assert it.page.locator(".trouble strong").inner_text() != ""
        it.open("/browse/item")
        assert it.page.locator("tbody tr").first.inner_text().count("<script>") == 1


def test_roles_hold_on_every_page(browser: Browser, shop: Site) -> None:
    closed = ODD_KEYS[1]
    with tab(browser, shop, shop.keys["staff"]) as it:
        for path, status in (
            ("/", 200),
            ("/browse/item", 200),
            ("/browse/item?q=item", 200),
            ("/browse/item/plain", 200),
            ("/browse/item?sort=secret", 400),
            ("/browse/item?secret.eq=secret1", 400),
            ("/browse/item?email.contains=quill", 400),
            (f"/browse/item/{closed}", 404),
            ("/browse/vault", 404),
            ("/browse/vault/1", 404),
        ):
            assert it.open(path) == status, path
            text = it.page.content().replace(path.replace("&", "&amp;"), "")
            assert "vault" not in text.replace("&#39;", "'") or "vault" in path, path
            assert "gold" not in text
            if status == 200:
                assert "secret" not in text, path
                assert "quill" not in text, path
        missing = httpx.get(f"{shop.url}/browse/item/nothing", auth=("any", shop.keys["staff"]))
        hidden = httpx.get(f"{shop.url}/browse/item/{closed}", auth=("any", shop.keys["staff"]))
        assert missing.text == hidden.text
        it.open("/browse/item")
        assert it.texts("#total") == [f"{(len(ODD_KEYS) + 1) // 2} records"]
        assert it.page.locator("th", has_text="email masked").count() == 1
    with tab(browser, shop, shop.keys["hr"]) as it:
        it.open("/")
        assert it.page.get_by_role("link", name="vaults").count() == 1
        it.open("/browse/item?secret.eq=secret1")
        assert it.texts("#total") == ["1 record"]
    assert httpx.get(f"{shop.url}/browse/item").status_code == 401


def test_a_keyboard_is_enough_and_everything_has_a_name(browser: Browser, world: Site) -> None:
    with tab(browser, world) as it:
        it.open("/browse/city?population.gte=1000000")
        it.page.keyboard.press("Tab")
        assert it.page.evaluate("document.activeElement.textContent") == "Skip to the content"
        it.page.keyboard.press("/")
        assert it.page.evaluate("document.activeElement.id") == "q"
        it.page.keyboard.type("new york")
        for _ in range(2):
            it.page.keyboard.press("Tab")
        assert it.page.evaluate("document.activeElement.id") == "op"
        it.page.keyboard.press("Shift+Tab")
        it.page.keyboard.type("country")
        it.page.keyboard.press("Tab")
        it.page.keyboard.press("Tab")
        it.page.keyboard.type("US")
        it.page.keyboard.press("Enter")
        it.page.wait_for_url("**q=new+york**")
        assert "countryCode.eq=US" in it.page.url
        assert rows(it)[0][1] == "New York City"
        for path in ("/", "/browse/city", "/browse/country/FR"):
            it.open(path)
            nameless = it.page.evaluate(
                """() => [...document.querySelectorAll('a, button, input:not([type=hidden]), select')]
                    .filter(e => !(e.textContent.trim() || e.ariaLabel || (e.labels && e.labels.length)))
                    .map(e => e.outerHTML)"""
            )
            assert nameless == []
            assert it.page.locator("h1, main").count() == 2


def test_pages_work_without_a_script(browser: Browser, world: Site) -> None:
    with tab(browser, world, java_script_enabled=False) as it:
        it.open("/browse/country?sort=name")
        it.page.locator("#field").select_option("population")
        it.page.locator("#op").select_option("gte")
        it.page.locator("#value").fill("1000000000")
        it.page.get_by_role("button", name="Show").click()
        assert it.page.url.endswith("/browse/country?population.gte=1000000000&sort=name")
        assert [r[0] for r in rows(it)] == ["CN", "IN"]
        it.page.get_by_label("Remove: population").click()
        assert it.page.url.endswith("/browse/country?sort=name")
        assert it.page.locator("tbody tr").count() == 20


def test_graphiql_completes_explains_and_asks_as_another_role(browser: Browser, shop: Site) -> None:
    with tab(browser, shop, shop.keys["staff"]) as it:
        it.open("/graphql")
        it.page.wait_for_selector(".graphiql-editors .CodeMirror")
        it.page.wait_for_selector("#who:has-text('test')")
        assert "a search for vaults" not in it.page.locator("#samples").inner_text()
        it.page.get_by_role("button", name="Show Documentation Explorer").click()
        it.page.wait_for_selector(".graphiql-doc-explorer >> text=Query")
        editor = it.page.locator(".graphiql-query-editor .CodeMirror").first
        editor.click()
        it.page.keyboard.press("Control+a")
        it.page.keyboard.type("{ ite")
        it.page.keyboard.press("Control+Space")
        it.page.wait_for_selector(".CodeMirror-hints >> text=items")
        it.page.keyboard.press("Escape")
        it.page.locator("#credential").fill(shop.keys["both"])
        it.page.locator("#credential").blur()
        it.page.wait_for_selector("#role option[value=hr]", state="attached")
        for role, wanted in (("hr", len(ODD_KEYS)), ("staff", (len(ODD_KEYS) + 1) // 2)):
            it.page.locator("#role").select_option(role)
            it.page.wait_for_selector(f"#who:has-text('as {role}')")
            it.page.locator("#samples").select_option(label="the first items")
            it.page.wait_for_selector(".graphiql-query-editor >> text=totalCount")
            it.page.get_by_role("button", name="Execute query").click()
            it.page.wait_for_selector(f'.result-window >> text=/"totalCount": {wanted}/')
