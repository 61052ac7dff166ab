"""Figures: functions from the summary to matplotlib figures, in one style."""
