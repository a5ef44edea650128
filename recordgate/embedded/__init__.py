"""A Postgres of our own, for a laptop and for tests: `EmbeddedPostgres(data_dir).start()` gives its
URL.

Any number of processes may use one data folder at once. The pieces: `launcher` (a user of the
server), `supervisor` (the process that owns it), `cluster` (its files), `binaries`, `account`,
`locks`.
"""

from recordgate.embedded.launcher import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
