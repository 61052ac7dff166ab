"""What running programs share: command line, ranks, torch devices, memory, errors, text files."""
