"""Decides where reading goes on in each partition, and whether records are missing before that
place. Pure.

An offset says nothing of a topic that was deleted and made again: the brokers forget its offsets
and count from 0. So with each offset we store which topic it belongs to, by the id that it has for
its life, and which topics we have seen at all: a topic whose offsets are missing has been made
again only where it was seen under another id. A partition that was never committed (its topic was
made a moment before the reader ended, or has got it since) is read from its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol, TypeVar

from stores.errors import GapError

RELOAD = "nothing to do: every type is reloaded by itself; see `recordgate status`"
METADATA = 4000
"""Bytes that the brokers take with an offset, by default (offset.metadata.max.bytes)."""
MARK_CHARACTERS = 6
"""Maximum characters of a topic's name in a mark, and as many of its id."""


class Partition(Protocol):
    """kafka-python's TopicPartition."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...


class Committed(Protocol):
    """kafka-python's OffsetAndMetadata."""

    @property
    def offset(self) -> int: ...
    @property
    def metadata(self) -> str: ...


P = TypeVar("P", bound=Partition)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The metadata of a committed offset: the id of the topic that it belongs to, the database, and
    marks of all topics that were seen."""

    topic: str
    system: str
    lsn: int
    topics: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the metadata in at most METADATA bytes; marks are left out if there are too many
        topics."""
        said: dict[str, Any] = {"topic": self.topic, "system": self.system, "lsn": self.lsn}
        whole = json.dumps({**said, "topics": " ".join(self.topics)})
        return whole if len(whole) <= METADATA else json.dumps(said)

    @classmethod
    def parse(cls, text: str | None) -> Checkpoint | None:
        try:
            found = json.loads(text or "")
            topics = found.get("topics", ())  # a list, as an earlier version wrote it
            topics = topics.split() if isinstance(topics, str) else map(str, topics)
            return cls(str(found["topic"]), str(found["system"]), int(found["lsn"]), tuple(topics))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def mark_of(topic: str, topic_id: str = "") -> str:
    """Return a few characters that stand for a topic's name, and as many for its id if it has
    one."""
    return _digest(topic) + (_digest(topic_id) if topic_id else "")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:MARK_CHARACTERS]


def made_again(topic: str) -> GapError:
    return GapError(f"topic {topic} was deleted and created again", hint=RELOAD)


def go_on(
    group: str,
    system: str,
    committed: Mapping[P, Committed | None],
    starts: Mapping[P, int],
    ends: Mapping[P, int],
    ids: Mapping[str, str],
    missing: Collection[str],
) -> dict[P, int]:
    """Partition → the offset to read from, for all in `committed`. `ids`: the topics that are there
    → their id, empty where the brokers have none; `missing`: our topics that are not there.
    Raises GapError where records are missing."""
    if not any(committed.values()):
        raise GapError(
            f"the consumer group {group} has no offsets: they have expired, the group has"
            " changed, or the topics were created again",
            hint=RELOAD,
        )
    places = {p: Checkpoint.parse(found.metadata) for p, found in committed.items() if found}
    # Which topics were seen, and under which ids.
    seen: dict[str, set[str]] = {}
    for mark in (mark for place in places.values() if place for mark in place.topics):
        seen.setdefault(mark[:MARK_CHARACTERS], set()).add(mark[MARK_CHARACTERS:])
    for topic in missing:
        if mark_of(topic) in seen:
            raise GapError(f"topic {topic} was deleted", hint=RELOAD)
    known = {p.topic for p, found in committed.items() if found}
    found_at: dict[P, int] = {}
    for partition, found in committed.items():
        topic, topic_id = partition.topic, ids.get(partition.topic, "")
        if found:
            _check_place(places[partition], topic, topic_id, system, group)
            if not starts[partition] <= found.offset <= ends[partition]:
                raise _expired(topic, found.offset, starts[partition], ends[partition])
            found_at[partition] = found.offset
            continue
        if topic not in known and _was_another(seen.get(mark_of(topic)), topic_id):
            raise made_again(topic)
        if starts[partition]:  # what was there first has been removed, and was never read
            raise _expired(topic, 0, starts[partition], ends[partition])
        found_at[partition] = 0
    return found_at


def _check_place(
    place: Checkpoint | None, topic: str, topic_id: str, system: str, group: str
) -> None:
    if place is None:
        return
    if place.topic and topic_id and place.topic != topic_id:
        raise made_again(topic)
    if place.system != system:
        raise GapError(f"the offsets of group {group} belong to another database", hint=RELOAD)


def _was_another(seen_ids: Collection[str] | None, topic_id: str) -> bool:
    """Return whether a topic without any offset is not the one that was seen under its name.
    Without ids, of the brokers or of an earlier version's marks, nobody can tell, and a reload is
    the safe answer."""
    if seen_ids is None:
        return False
    return not topic_id or _digest(topic_id) not in seen_ids


def _expired(topic: str, offset: int, start: int, end: int) -> GapError:
    return GapError(
        f"topic {topic} no longer has the records from offset {offset} on: it holds {start} to"
        f" {end}",
        hint=f"keep its records longer (retention.ms); {RELOAD}",
    )
