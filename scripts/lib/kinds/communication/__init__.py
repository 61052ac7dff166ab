"""Collective and point-to-point communication: time and bandwidth over message sizes."""
