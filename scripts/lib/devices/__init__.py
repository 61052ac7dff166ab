"""Devices: which one a job gets, what it is, what else is on it."""
