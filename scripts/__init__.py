"""The programs of the workflow: one command line each, `python -m scripts.NAME --help`."""
