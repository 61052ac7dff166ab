"""Data-parallel training on text of varying length: schedules, data, steps, records."""
