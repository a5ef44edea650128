"""The embedded server as a user meets it."""

import psycopg


def test_a_fresh_database_is_empty_and_speaks_utf8(database: str) -> None:
    with psycopg.connect(database) as conn:
        found = conn.execute(
            "SELECT current_setting('wal_level'), current_setting('listen_addresses'),"
            " pg_encoding_to_char(encoding), (SELECT count(*) FROM pg_tables WHERE schemaname = 'public')"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert found == ("logical", "", "UTF8", 0)
