"""Result files: their models, how they are written and read, how they become rows."""
