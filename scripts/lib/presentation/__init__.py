"""How tables and figures are declared, written and styled; what they show is said by each kind."""
