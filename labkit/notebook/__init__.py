"""Notebooks: run again with parameters."""
