"""The kinds of measurement, a folder each; `registry` lists them, `base` says what a kind is."""
