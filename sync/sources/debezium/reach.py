"""Tells a broker that is away from one that is there and does not let us in: to the client both are
a timeout."""

from __future__ import annotations

import socket

from stores.errors import StoreUnavailable
from sync.sources.debezium.location import KafkaLocation

SECONDS = 2.0


def better(error: BaseException, location: KafkaLocation) -> BaseException:
    """`error`, or what is wrong instead where it says that Kafka is not reached, and a broker
    is."""
    if not isinstance(error, StoreUnavailable) or not any(map(_accepts, location.bootstrap)):
        return error
    return StoreUnavailable(
        f"a Kafka broker accepts the connection but refuses {location.security}",
        store=error.store,
        hint=(
            "check security, user, password and certificates in `changes`; the broker may also"
            " still be starting"
        ),
    )


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS):
            return True
    except (OSError, ValueError):
        return False
