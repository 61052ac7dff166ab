"""What user input is checked with: strict models, YAML with line numbers, one line a problem."""
