"""The reference pages name everything there is: what follows from the code is compared with the
code, links lead somewhere, every metric is described. Error codes have their own test beside
docs/reference/errors.md."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest
import typer
from prometheus_client import CollectorRegistry

from gateway.endpoints.service_levels import IndicatorMetrics
from gateway.http.metrics import Metrics
from recordgate.cli.app import COMMANDS, build
from recordgate.garbage import GarbagePauses
from recordgate.monitoring.levels import DeliveryMetrics, LevelMetrics
from recordgate.monitoring.schedule import QualityMetrics
from recordgate.overview import Overview
from stores.contract.load import load_contract
from sync.metrics import SyncMetrics
from tests.acceptance.gateway_rig import GEONAMES

DOCS = Path(__file__).parents[2] / "docs"
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "commands.md"])
def test_generated_pages_are_what_the_code_says(generator: ModuleType, name: str) -> None:
    written = (DOCS / "reference" / name).read_text("utf-8")
    assert written == generator.PAGES[name](), f"run `make docs`: docs/reference/{name} is old"


def test_every_setting_and_option_says_what_it_does(generator: ModuleType) -> None:
    for page in generator.PAGES.values():
        for row in page().splitlines():
            if row.startswith("| `"):
                assert not row.endswith("|  |"), f"no description: {row}"
                assert not row.endswith("| None |"), f"no description: {row}"


def test_every_command_is_brought_by_the_module_it_is_listed_with() -> None:
    """A command that is missing in COMMANDS would be there in --help and unknown when it is
    called."""
    top = typer.main.get_command(build())
    assert set(top.commands) == set(COMMANDS)  # type: ignore[attr-defined]


def test_every_metric_is_in_the_reference() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    SyncMetrics(registry)
    GarbagePauses(registry).close()
    QualityMetrics(registry)
    IndicatorMetrics(registry)
    LevelMetrics(registry)
    DeliveryMetrics(registry)
    text = (DOCS / "reference" / "metrics.md").read_text("utf-8")
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith("recordgate"):
            assert f"`{name}" in text, f"{name} is missing in docs/reference/metrics.md"


def test_every_condition_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "conditions.md").read_text("utf-8")
    sources = [
        file.read_text("utf-8")
        for folder in ("stores", "sync", "gateway", "recordgate")
        for file in (DOCS.parent / folder).rglob("*.py")
    ]
    constants = {
        k: v for s in sources for k, v in re.findall(r'^([A-Z_]+) = "([a-z-]+)"$', s, re.M)
    }
    given = {code for s in sources for code in re.findall(r"\bCondition\(\s*([A-Z\"][\w-]+)", s)}
    found = {code.strip('"') if code.startswith('"') else constants[code] for code in given}
    assert len(found) > 8
    for code in sorted(found):
        assert f"`{code}`" in text, f"{code} is missing in docs/reference/conditions.md"


def test_every_metric_of_the_overview_is_in_the_reference() -> None:
    registry = CollectorRegistry()

    def nowhere() -> NoReturn:
        raise AssertionError("nobody looks")

    Overview(load_contract(GEONAMES), "slot", nowhere, registry)
    text = (DOCS / "reference" / "metrics.md").read_text("utf-8")
    for family in registry.collect():
        assert f"`{family.name}`" in text


@pytest.mark.parametrize(
    "page",
    [
        *sorted(DOCS.parent.glob("*.md")),
        *sorted((DOCS.parent / "examples").rglob("*.md")),
        *sorted(DOCS.rglob("*.md")),
    ],
    ids=lambda p: str(p.relative_to(DOCS.parent)),
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
