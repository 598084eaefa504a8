"""Sinks: where a replay ends up.

They only read production: frames, files, scratch indices, clusters of workers.
"""
