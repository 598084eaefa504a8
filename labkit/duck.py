"""DuckDB: interrupted while it is imported, it would abort the process, and a notebook's kernel with it."""

from labkit import interrupt

with interrupt.held():
    import duckdb

__all__ = ["duckdb"]
