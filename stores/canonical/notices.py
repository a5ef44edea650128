"""The channels of NOTIFY by which the processes of a product tell each other what happened."""

from __future__ import annotations

POSITIONS = "recordgate_positions"
"""A store shows more than before: the payload is the sink's name. Or a source was read whole: it
begins with SOURCE."""
SOURCE = "source:"
"""The beginning of a collector's payload on POSITIONS: `source:SECONDS:NAME`."""
FEED = "recordgate_feed"
"""Changes came into `recordgate.feed`; the payload says nothing."""
CHANGES = "recordgate_changes"
"""Changes of a type came into `recordgate.change_log`; the payload is the type's name."""
