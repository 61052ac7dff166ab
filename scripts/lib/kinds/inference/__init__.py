"""Serving a model and measuring it under load.

`server` starts and ends servers, `client` sends requests, `prompts` makes what they ask, `metrics`
turns records into figures, `model` makes the embedded model, `points` puts them together.
"""
