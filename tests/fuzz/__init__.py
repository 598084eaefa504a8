"""Fuzzing: what takes bytes of others, and two drivers for it."""
