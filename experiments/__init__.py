"""Reproductions and benchmarks: a configuration and one call each."""
