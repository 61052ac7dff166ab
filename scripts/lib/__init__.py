"""What several programs share. Imports point downwards only, in this order from the bottom:

`schema` checks user input; `sweeps` is what all kinds' sweeps and runs have in common; `results`
and `devices` describe files and hardware; `runtime` is what running programs share; `batch_size`
searches for the largest batch; `presentation` declares and writes tables and figures; `kinds` holds
a folder per kind of measurement; `config` expands sweeps into runs; `summary` and `report` collect
and present results; `workflow` serves the Snakefile.
"""
