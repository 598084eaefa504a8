"""Profile records: every field, its types, values and shares, of a topic, window or index."""
