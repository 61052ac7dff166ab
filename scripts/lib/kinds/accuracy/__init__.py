"""Accuracy against efficiency knobs: data, model, knobs, evaluation, statistics."""
