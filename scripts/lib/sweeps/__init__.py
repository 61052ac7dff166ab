"""What sweeps and runs of every kind share; imports neither torch nor pandas."""
