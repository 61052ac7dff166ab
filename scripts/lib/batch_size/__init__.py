"""The largest usable batch: the search, which knows no torch, and the probes, which do."""
