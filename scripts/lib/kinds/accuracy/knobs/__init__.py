"""Efficiency knobs of a loaded transformers model, each with the same small interface."""
