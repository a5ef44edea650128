"""Changes from a logical replication slot of canonical, by Postgres' own plugin pgoutput.

`source` is the ChangeSource; `slot` makes and inspects the slot, `prepared` checks the publication,
`connection` speaks the streaming replication protocol, `messages` and `decoder` read what comes,
`transactions` puts it together, `clock` says how old a position is.
"""

from sync.sources.pgoutput.slot import SlotState, drop_slot, ensure_slot, slot_state
from sync.sources.pgoutput.source import PgOutputSource

__all__ = ["PgOutputSource", "SlotState", "drop_slot", "ensure_slot", "slot_state"]
