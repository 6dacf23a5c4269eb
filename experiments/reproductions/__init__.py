"""Trained agents beside published or optimal numbers."""
