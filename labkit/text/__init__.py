"""How foreign text is shown: what cannot be seen made visible, secrets masked, HTML escaped."""
