"""compose/: the files are what the Compose Specification allows, everything they refer to is there,
versions are pinned, secrets stay in files, nothing but the gateway and the board is reached from
outside."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema
import pytest
import yaml
from prometheus_client import CollectorRegistry

from compose.local.servers import ELASTICSEARCH_VERSION
from gateway.context.breakers import State
from gateway.context.services import Services
from gateway.context.store_metrics import StoreMetrics
from gateway.http.metrics import Metrics
from recordgate.overview import Overview, single
from recordgate.settings import Settings, load_settings
from stores.contract.load import load_contract
from stores.documents.mongodb import url as mongodb_url
from stores.search.elasticsearch import url as elasticsearch_url
from sync.metrics import SyncMetrics
from sync.sources.debezium.location import KafkaLocation
from tests.acceptance.gateway_rig import GEONAMES

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
FILES = ("compose.yaml", "kafka.yaml")
OURS = ("apply", "sync", "gateway")
REACHED = ("gateway", "grafana")
ONCE = ("apply", "elasticsearch-account", "mongodb-account")
DOCKERFILES = [
    (COMPOSE / "Dockerfile", ROOT),
    (COMPOSE / "connect" / "Dockerfile", COMPOSE),
]


def loaded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / name).read_text("utf-8"))
    return found


def merged(*names: str) -> dict[str, Any]:
    """The files one over the other: maps are merged, as Compose does with all that ours have
    twice."""

    def over(low: Any, high: Any) -> Any:
        if isinstance(low, dict) and isinstance(high, dict):
            both = low | high
            return {k: over(low[k], high[k]) if k in low and k in high else both[k] for k in both}
        return high

    model: dict[str, Any] = {}
    for name in names:
        model = over(model, loaded(name))
    return model


STACKS = [merged("compose.yaml"), merged(*FILES)]
both_stacks = pytest.mark.parametrize("stack", STACKS, ids=["pgoutput", "kafka"])


def sources(service: dict[str, Any], kind: str) -> set[str]:
    return {s if isinstance(s, str) else s["source"] for s in service.get(kind, ())}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_the_specification_allows(name: str) -> None:
    schema = json.loads((COMPOSE / "schema" / "compose-spec.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    assert [f"{e.json_path}: {e.message}" for e in validator.iter_errors(loaded(name))] == []


def test_the_check_against_the_specification_can_fail() -> None:
    schema = json.loads((COMPOSE / "schema" / "compose-spec.json").read_text("utf-8"))
    broken = loaded("compose.yaml")
    broken["services"]["sync"]["restarts"] = "always"
    assert not jsonschema.Draft202012Validator(schema).is_valid(broken)


@both_stacks
def test_all_that_a_service_refers_to_is_declared_and_all_that_is_declared_is_used(
    stack: dict[str, Any],
) -> None:
    services = stack["services"].values()
    for kind in ("secrets", "configs"):
        assert {s for service in services for s in sources(service, kind)} == set(stack[kind])
    mounted = {v.split(":")[0] for s in services for v in s.get("volumes", ())}
    assert mounted == set(stack["volumes"])
    assert {n for s in services for n in s["networks"]} == set(stack["networks"])


@both_stacks
def test_a_service_waits_only_for_what_can_come_true(stack: dict[str, Any]) -> None:
    services = stack["services"]
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], (name, other)
            else:
                assert wanted["condition"] == "service_completed_successfully"
                assert services[other]["restart"] == "no", (name, other)
    for name in set(services) - set(ONCE) - {"gateway"}:  # the gateway's is in its image
        assert "test" in services[name]["healthcheck"], name
    assert "HEALTHCHECK" in (COMPOSE / "Dockerfile").read_text()


@both_stacks
def test_files_are_there(stack: dict[str, Any]) -> None:
    for config in stack["configs"].values():
        path = re.sub(r"\$\{\w+:-(.*)\}", r"\1", config["file"])
        assert (COMPOSE / path).is_file(), path
    for service in stack["services"].values():
        if "build" in service:
            context = COMPOSE / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file()


def copied(dockerfile: Path) -> Iterator[str]:
    for line in dockerfile.read_text("utf-8").splitlines():
        if line.startswith("COPY") and "--from" not in line:
            yield from line.split()[1:-1]


@pytest.mark.parametrize(("dockerfile", "context"), DOCKERFILES, ids=["recordgate", "connect"])
def test_what_an_image_copies_is_there_and_not_ignored(dockerfile: Path, context: Path) -> None:
    ignored = dockerfile.with_name("Dockerfile.dockerignore").read_text("utf-8").splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    for path in copied(dockerfile):
        assert (context / path).exists(), path
        assert path in allowed, path
    assert allowed == set(copied(dockerfile)), "more is let in than is copied"


def test_the_image_has_every_package_of_the_wheel() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) <= set(copied(COMPOSE / "Dockerfile"))


def test_images_are_pinned_by_a_whole_version() -> None:
    whole = re.compile(r"[\w./-]+:v?\d+\.\d+(\.\d+)?[\w.-]*")
    images = {s["image"] for s in STACKS[1]["services"].values()}
    for dockerfile, _ in DOCKERFILES:
        images |= set(re.findall(r"^FROM (\S+)", dockerfile.read_text("utf-8"), re.M))
    assert [i for i in images if not whole.fullmatch(i)] == []


def test_images_have_the_versions_that_the_tests_run_on() -> None:
    services = STACKS[1]["services"]
    assert services["elasticsearch"]["image"] == f"elasticsearch:{ELASTICSEARCH_VERSION}"
    pom = ElementTree.parse(COMPOSE / "local" / "kafka" / "pom.xml")
    versions = {e.text for e in pom.iter() if e.tag.endswith("version")}
    kafka, connect = services["kafka"]["image"], services["connect"]["image"]
    assert kafka.split(":")[1] in versions
    assert f"FROM {kafka}\n" in DOCKERFILES[1][0].read_text("utf-8")
    broker, _, debezium = connect.split(":")[1].partition("-")
    assert {broker, debezium} <= versions


@both_stacks
def test_only_the_gateway_and_the_board_are_reached_from_outside_and_from_this_machine_only(
    stack: dict[str, Any],
) -> None:
    assert stack["networks"]["stores"] == {"internal": True}
    for name, service in stack["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        assert bool(service.get("ports")) == (name in REACHED)
        assert ("outside" in service["networks"]) == (name in REACHED)


@both_stacks
def test_every_service_has_limits_and_cannot_gain_rights(stack: dict[str, Any]) -> None:
    for name, service in stack["services"].items():
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        if name in OURS:
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
    assert re.search(r"^USER \d+:\d+$", (COMPOSE / "Dockerfile").read_text("utf-8"), re.M)


@both_stacks
def test_no_secret_is_in_the_environment(stack: dict[str, Any]) -> None:
    for name, service in stack["services"].items():
        for variable in service.get("environment", {}):
            secret = re.search("PASSWORD|SECRET|TOKEN|KEY", variable)
            assert not secret or variable.endswith("_FILE"), f"{name}: {variable}"


@pytest.mark.parametrize("name", FILES)
def test_every_variable_has_a_default(name: str) -> None:
    for variable in re.findall(r"(?<!\$)\$\{[^}]*\}", (COMPOSE / name).read_text("utf-8")):
        assert re.fullmatch(r"\$\{[A-Z_]+:-[^}]+\}", variable), variable


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The folder of secrets, made by the script."""
    shutil.copy(COMPOSE / "secrets.sh", tmp_path)
    subprocess.run([str(tmp_path / "secrets.sh")], check=True, stdout=subprocess.DEVNULL)
    return tmp_path / "secrets"


def test_the_script_makes_every_secret_once_and_for_its_owner(secrets: Path) -> None:
    declared = {Path(s["file"]).name for s in STACKS[1]["secrets"].values()}
    made = {p.name: p.read_text() for p in secrets.iterdir()}
    assert set(made) == declared
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch("[A-Za-z0-9]{40,}", text) for text in made.values())
    subprocess.run([str(secrets.parent / "secrets.sh")], check=True, stdout=subprocess.DEVNULL)
    assert {p.name: p.read_text() for p in secrets.iterdir()} == made
    assert "/compose/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.fixture
def settings(secrets: Path) -> Settings:
    """As a container has them."""
    text = (COMPOSE / "recordgate.toml").read_text("utf-8")
    file = secrets.parent / "recordgate.toml"
    file.write_text(text.replace("/run/secrets", str(secrets)))
    return load_settings(file)


def test_the_settings_are_right_and_hold_no_secret(settings: Settings, secrets: Path) -> None:
    search = elasticsearch_url.parse(settings.search.get_secret_value())
    documents = mongodb_url.parse(settings.documents.get_secret_value())
    assert search.node == "http://elasticsearch:9200"
    assert search.password == (secrets / "elasticsearch_password").read_text()
    assert documents.where == "mongodb:27017/recordgate"
    password = documents.client_options()["password"]
    assert password == (secrets / "mongodb_password").read_text()
    text = (COMPOSE / "recordgate.toml").read_text("utf-8")
    assert not re.search(r"://[^/@\"]*:[^/@\"]*@", text)
    account = (COMPOSE / "elasticsearch" / "account.sh").read_text("utf-8")
    assert f'"{search.prefix}-*"' in account


def test_each_container_of_ours_has_the_secrets_that_it_reads() -> None:
    named = set(re.findall(r"/run/secrets/(\w+)", (COMPOSE / "recordgate.toml").read_text("utf-8")))
    services = STACKS[0]["services"]
    assert set(services["gateway"]["secrets"]) == named
    assert set(services["sync"]["secrets"]) == named - {"token_secret"}
    assert services["apply"]["secrets"] == ["postgres_password"]


def test_the_variant_with_kafka_names_broker_and_connect() -> None:
    services = STACKS[1]["services"]
    urls = {services[name]["environment"]["RECORDGATE_CHANGES"] for name in OURS}
    assert len(urls) == 1
    location = KafkaLocation.parse(urls.pop())
    assert location.bootstrap == ("kafka:9092",)
    assert location.connect == "http://connect:8083"
    assert services["apply"]["depends_on"].keys() == {"postgres", "connect"}


# Monitoring ------------------------------------------------------------------------------------------


def exported() -> set[str]:
    """Names of the samples that gateway and worker have."""
    registry = CollectorRegistry()
    Metrics(registry)
    SyncMetrics(registry)
    Overview(load_contract(GEONAMES), "slot", single(""), registry)
    guard = SimpleNamespace(role="search", calls={"ok": 0}, state=lambda: State.CLOSED)
    services = SimpleNamespace(
        **{
            "guards": {"documents": guard, "search": guard},
            "fallbacks": SimpleNamespace(running=0),
        },
        **dict.fromkeys(("fallbacks_taken", "fallbacks_refused", "hedges_begun", "hedges_won"), 0),
    )
    StoreMetrics(cast(Services, services), registry)
    names: set[str] = set()
    for family in registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, ("",))}
    return names


def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((COMPOSE / "grafana" / "recordgate.json").read_text("utf-8"))
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((COMPOSE / "prometheus" / "rules.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_rules_and_board_ask_only_for_metrics_that_are_there() -> None:
    asked = [rule["expr"] for rule in rules()]
    asked += [t["expr"] for panel in board()["panels"] for t in panel.get("targets", ())]
    named = {name for text in asked for name in re.findall(r"\brecordgate_\w+", text)}
    assert named <= exported(), named - exported()


def test_the_board_shows_and_the_rules_watch_what_can_go_wrong() -> None:
    shown = json.dumps(board())
    watched = " ".join(rule["expr"] for rule in rules())
    for metric in (
        "recordgate_sink_lag_seconds",
        "recordgate_slot_retained_bytes",
        "recordgate_dead_letters",
        "recordgate_verify_differences",
    ):
        assert metric in shown
        assert metric in watched


def test_every_panel_has_its_place_and_the_source_that_is_provisioned() -> None:
    panels = board()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({p["id"] for p in panels}) == len(panels)
    source = yaml.safe_load((COMPOSE / "grafana" / "datasource.yaml").read_text("utf-8"))
    uid = source["datasources"][0]["uid"]
    assert {p["datasource"]["uid"] for p in panels if "datasource" in p} == {uid}


def test_what_is_scraped_are_services_and_their_ports() -> None:
    config = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text("utf-8"))
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"][0] for job in config["scrape_configs"]
    }
    text = (COMPOSE / "recordgate.toml").read_text("utf-8")
    ports = dict(re.findall(r"^(port|worker_port) = (\d+)$", text, re.M))
    assert jobs == {
        "recordgate-gateway": f"gateway:{ports['port']}",
        "recordgate-sync": f"sync:{ports['worker_port']}",
    }
    watched = {m for rule in rules() for m in re.findall(r'up\{job="([^"]+)"\}', rule["expr"])}
    assert watched == set(jobs)
    health = json.dumps(STACKS[0]["services"]["sync"]["healthcheck"])
    assert f":{ports['worker_port']}/health/live" in health


def test_prometheus_takes_the_configuration_and_the_rules_fire() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on the PATH (Debian's package prometheus has it)")
    folder = COMPOSE / "prometheus"
    for arguments in (["check", "config", "prometheus.yml"], ["test", "rules", "rules_test.yml"]):
        found = subprocess.run(
            [promtool, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr
