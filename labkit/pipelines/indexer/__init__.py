"""The production-style consumer: a topic into an index, continuously."""
