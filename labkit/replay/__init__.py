"""Replay: bounds become frozen offsets, and those become Arrow record batches and a receipt."""
