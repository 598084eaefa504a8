"""Files of JSON lines into a topic."""
