"""Profile: what is in a topic, a window, a replay or an index: every field, its types, values and
shares.
"""
