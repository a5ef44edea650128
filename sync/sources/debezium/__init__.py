"""The change source on Kafka: topics that Debezium's Postgres connector writes."""

from sync.sources.debezium.connector import connector_config, debezium_slot, shown
from sync.sources.debezium.inspection import Inspected, inspect
from sync.sources.debezium.location import KafkaLocation
from sync.sources.debezium.registration import Outcome, apply_connector, configured, register
from sync.sources.debezium.source import DebeziumSource

__all__ = [
    "DebeziumSource",
    "Inspected",
    "KafkaLocation",
    "Outcome",
    "apply_connector",
    "configured",
    "connector_config",
    "debezium_slot",
    "inspect",
    "register",
    "shown",
]
