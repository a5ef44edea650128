"""The change source on Kafka: topics that Debezium's Postgres connector writes."""

from sync.sources.debezium.connector import connector_config, register
from sync.sources.debezium.location import KafkaLocation
from sync.sources.debezium.source import DebeziumSource

__all__ = ["DebeziumSource", "KafkaLocation", "connector_config", "register"]
