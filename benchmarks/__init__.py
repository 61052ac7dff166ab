"""Benchmarks of sweepmake itself; each prints a table."""
