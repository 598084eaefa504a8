"""Find: records by what is in them, the newest first, without reading more of a window than that
takes.
"""
