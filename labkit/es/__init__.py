"""The Elasticsearch driver: documents, bulk requests, mappings, and reading an index back."""
