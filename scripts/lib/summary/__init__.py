"""Summaries: the results of many runs as tables of rows."""
