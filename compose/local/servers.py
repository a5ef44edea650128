"""How each real server is prepared and started; every one listens on 127.0.0.1 and a free port."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compose.local.fetch import HERE, compile_java, fetch, java_home, servers_dir
from compose.local.process import (
    Process,
    ServerProblem,
    accepts,
    free_port,
    open_to_account,
    spawn,
    wait_until,
)

ELASTICSEARCH_VERSION = "9.5.3"


def http_json(url: str, body: Mapping[str, Any] | None = None) -> Any:
    """GET, or POST of `body`; None where nothing usable answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return json.load(response)
    except (OSError, ValueError):
        return None


# Elasticsearch ------------------------------------------------------------------------------------


def elasticsearch_home() -> Path:
    """The distribution with our plugin in it."""
    home = fetch("elasticsearch") / f"elasticsearch-{ELASTICSEARCH_VERSION}"
    plugin = home / "plugins" / "recordgate-analysis"
    with (servers_dir() / "elasticsearch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (plugin / "plugin-descriptor.properties").exists():
            source = HERE / "elasticsearch" / "plugin"
            classes = servers_dir() / "elasticsearch" / "classes"
            java = java_home(21)
            compile_java(source / "AnalysisBridge.java", f"{home}/lib/*", classes, java)
            plugin.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                [
                    str(java / "bin" / "jar"),
                    "cf",
                    str(plugin / "bridge.jar"),
                    "-C",
                    str(classes),
                    ".",
                ],
                check=True,
            )
            text = (source / "plugin-descriptor.properties.in").read_text()
            (plugin / "plugin-descriptor.properties").write_text(
                text.replace("@VERSION@", ELASTICSEARCH_VERSION)
            )
            subprocess.run(["chmod", "-R", "a+rX", str(home)], check=True)
    return home


def start_elasticsearch(
    folder: Path,
    *,
    settings: Mapping[str, str] | None = None,
    port: int | None = None,
    heap: str = "512m",
) -> tuple[Process, str]:
    """Start it with its data in `folder`; `settings` are added to elasticsearch.yml. Returns its
    URL."""
    home = elasticsearch_home()
    port = port or free_port()
    for name in ("config", "data", "logs", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("jvm.options", "log4j2.properties"):
        shutil.copy(home / "config" / name, folder / "config" / name)
    lines = {
        "cluster.name": "recordgate-local",
        "discovery.type": "single-node",
        "xpack.security.enabled": "false",
        "network.host": "127.0.0.1",
        "http.port": str(port),
        "transport.port": str(free_port()),
        "path.data": str(folder / "data"),
        "path.logs": str(folder / "logs"),
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        **(settings or {}),
    }
    (folder / "config" / "elasticsearch.yml").write_text(
        "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())
    )
    (folder / "server.pid").unlink(missing_ok=True)
    open_to_account(folder)
    launcher = spawn(
        "elasticsearch",
        folder,
        [str(home / "bin" / "elasticsearch"), "-p", str(folder / "server.pid")],
        environment={
            "ES_PATH_CONF": str(folder / "config"),
            "ES_TMPDIR": str(folder / "tmp"),
            "ES_JAVA_HOME": str(java_home(21)),
            "ES_JAVA_OPTS": f"-Xms{heap} -Xmx{heap}",
        },
        unprivileged=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(launcher, lambda: _green(url, settings), 180)
    except ServerProblem:
        _server_of(launcher, folder).kill()
        raise
    return _server_of(launcher, folder), url


def _green(url: str, settings: Mapping[str, str] | None) -> bool:
    if settings and settings.get("xpack.security.enabled") == "true":
        try:
            urllib.request.urlopen(url, timeout=2)
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False
    health = http_json(f"{url}/_cluster/health")
    return bool(health) and health["status"] in ("green", "yellow")


def _server_of(launcher: Process, folder: Path) -> Process:
    """The server is a child of its launcher: signals go to the id in its own pid file."""
    pid_file = folder / "server.pid"
    if not pid_file.exists():
        return launcher
    pid = int(pid_file.read_text())
    (folder / "pid").write_text(str(pid))
    return Process("elasticsearch", folder, pid)


# The MongoDB-protocol server ----------------------------------------------------------------------


def start_mongodb(
    folder: Path, *, port: int | None = None, heap: str = "8g"
) -> tuple[Process, str]:
    """Start it, in memory: it comes back empty. Returns its URL without a database. It holds a
    document in about 4 kB of `heap`, which is taken as it is needed."""
    home = fetch("mongo")
    java = java_home(17)
    source = HERE / "mongo" / "Launcher.java"
    classes = home / f"classes-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    with (servers_dir() / "mongo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (classes / "recordgate").exists():
            compile_java(source, f"{home}/jars/*", classes, java)
    port = port or free_port()
    process = spawn(
        "mongodb",
        folder,
        [
            str(java / "bin" / "java"),
            f"-Xmx{heap}",
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            f"{classes}:{home}/jars/*",
            "recordgate.local.Launcher",
            str(port),
        ],
    )
    wait_until(process, lambda: accepts(port), 30)
    return process, f"mongodb://127.0.0.1:{port}"


# Kafka and Debezium's Connect ---------------------------------------------------------------------

JVM = [
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]


def _java(home: Path, heap: str, main: str, *arguments: str) -> list[str]:
    java = java_home(17) / "bin" / "java"
    return [str(java), f"-Xmx{heap}", *JVM, "-cp", f"{home}/jars/*", main, *arguments]


def start_kafka(folder: Path, *, port: int | None = None, jaas: str = "") -> tuple[Process, str]:
    """Start one broker that is its own controller. Returns `host:port` of its bootstrap. `jaas`:
    its accounts, as Java's login module PLAIN takes them; without, anybody may connect."""
    home = fetch("kafka")
    port, controller = port or free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    protocol = "SASL_PLAINTEXT" if jaas else "PLAINTEXT"
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"{protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"{protocol}://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "broker.session.timeout.ms": "3000",
    }
    if jaas:
        properties |= {
            "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,{protocol}:{protocol}",
            "inter.broker.listener.name": protocol,
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            f"listener.name.{protocol.lower()}.plain.sasl.jaas.config": jaas,
        }
    config = folder / "server.properties"
    known = folder / "data" / "meta.properties"
    if known.exists():
        # The controller's address is part of the quorum's memory: keep the ports of the first
        # start.
        properties.update(
            line.split("=", 1) for line in config.read_text().splitlines() if "=" in line
        )
        port = int(properties["advertised.listeners"].rsplit(":", 1)[1])
    config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    if not known.exists():
        done = subprocess.run(
            _java(
                home,
                "128m",
                "kafka.tools.StorageTool",
                "format",
                "-t",
                "cmVjb3JkZ2F0ZS1sb2NhbA",
                "-c",
                str(config),
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerProblem(f"kafka's storage could not be formatted: {done.stderr[-400:]}")
    process = spawn("kafka", folder, _java(home, "256m", "kafka.Kafka", str(config)))
    wait_until(process, lambda: accepts(port), 60)
    return process, f"127.0.0.1:{port}"


def start_connect(folder: Path, bootstrap: str, *, port: int | None = None) -> tuple[Process, str]:
    """Start Kafka Connect with Debezium's connector. Returns the URL of its REST interface."""
    home = fetch("kafka")
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    converter = "org.apache.kafka.connect.json.JsonConverter"
    properties = {
        "bootstrap.servers": bootstrap,
        "group.id": "recordgate-connect",
        "listeners": f"http://127.0.0.1:{port}",
        "plugin.path": str(home / "plugins"),
        "plugin.discovery": "service_load",
        "key.converter": converter,
        "value.converter": converter,
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "config.storage.topic": "recordgate-connect-config",
        "offset.storage.topic": "recordgate-connect-offsets",
        "status.storage.topic": "recordgate-connect-status",
        "config.storage.replication.factor": "1",
        "offset.storage.replication.factor": "1",
        "offset.storage.partitions": "1",
        "status.storage.replication.factor": "1",
        "status.storage.partitions": "1",
        "offset.flush.interval.ms": "1000",
        "scheduled.rebalance.max.delay.ms": "0",
    }
    config = folder / "connect.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    main = "org.apache.kafka.connect.cli.ConnectDistributed"
    process = spawn("connect", folder, _java(home, "512m", main, str(config)))
    url = f"http://127.0.0.1:{port}"
    wait_until(process, lambda: http_json(f"{url}/health") is not None, 90)
    return process, url
