"""Columns in each engine: Arrow, pandas and DuckDB hold the same values, nested ones too."""
