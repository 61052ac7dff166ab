"""Timed transformer steps: the model, its step, the clock, the FLOPs, the memory."""
