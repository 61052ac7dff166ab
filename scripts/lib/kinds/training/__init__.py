"""Timed transformer steps."""
