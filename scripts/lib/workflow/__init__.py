"""What the Snakefile does around the rules: checks, locks, progress, Slurm's queue."""
