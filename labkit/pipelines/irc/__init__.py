"""The channels of an IRC server into a topic."""
