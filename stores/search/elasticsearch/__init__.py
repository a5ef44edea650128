"""The Elasticsearch search store."""
