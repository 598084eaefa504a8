"""Find records by what is in them, newest first, without reading more than that takes."""
