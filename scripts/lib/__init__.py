"""What several programs share. Imports point downwards only.

`schema` checks user input, `config` expands sweeps into runs, `results` are the files that
programs write; `devices`, `training` and `batch_size` measure; `tables` and `figures` present.
"""
