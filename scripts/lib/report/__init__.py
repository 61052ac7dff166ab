"""What is presented of all kinds: the registry of tables and figures, and what they read."""
