"""Replay: bounds become frozen offsets, frozen offsets become Arrow record batches and a receipt."""
