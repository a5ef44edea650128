"""The embedded server as a user meets it."""

from pathlib import Path

import psycopg

from recordgate.embedded import EmbeddedPostgres


def test_a_fresh_database_is_empty_speaks_utf8_and_is_on_no_network(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "data")
    try:
        with psycopg.connect(server.start()) as conn:
            found = conn.execute(
                "SELECT current_setting('wal_level'), current_setting('listen_addresses'),"
                " pg_encoding_to_char(encoding), (SELECT count(*) FROM pg_tables"
                " WHERE schemaname = 'public') FROM pg_database WHERE datname = current_database()"
            ).fetchone()
        assert found == ("logical", "", "UTF8", 0)
    finally:
        server.remove()
